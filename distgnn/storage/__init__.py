"""Folders by URI, verified folders, locks, retries, records."""
