"""The kill drill of ``jobs/kills.py``: commands that are killed while they write, and what is checked afterwards."""
