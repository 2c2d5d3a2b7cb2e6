"""Training: the loop, its schedules, objective, checkpoints and records."""
