"""Commands of the command line, called with parsed options."""
