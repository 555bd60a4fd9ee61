"""What the epochs and loaders benchmarks time: this engine and its peers; and the tables of their rows."""
