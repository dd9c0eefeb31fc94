"""Target and auxiliary tasks on one large network."""
