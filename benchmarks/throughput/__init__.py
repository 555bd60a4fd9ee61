"""For the epochs and loaders benchmarks: this engine and its peers as they are timed, and the tables of rows."""
