"""Training: mixing, loss, step, loop, metrics, checkpoints and the run's log."""
