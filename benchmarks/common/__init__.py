"""What the benchmarks share: timing, rows of results, the README's tables, the self-check of a step."""
