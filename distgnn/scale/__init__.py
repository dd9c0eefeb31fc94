"""Ray: Train, Data, Tune, jobs."""
