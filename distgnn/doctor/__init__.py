"""Facts about machines, and checks on them."""
