"""Data sets: statistics, duplicates, digests, contact sheets."""
