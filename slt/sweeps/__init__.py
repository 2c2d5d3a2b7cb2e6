"""Sweeps and studies: the state of each run, a sweep's page, and the lab notebook's tables."""
