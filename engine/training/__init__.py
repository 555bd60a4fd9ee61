"""Training: mixing, forward pass, loss, step, loop, stages, evaluation and metrics."""
