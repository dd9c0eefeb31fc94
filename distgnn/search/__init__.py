"""Search over configs: spaces, proposals, trials, and what a sweep leaves behind. Nothing here needs Ray."""
