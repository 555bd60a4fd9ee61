"""What the epochs and loaders benchmarks time, the peers beside it, and the tables of their rows."""
