"""Benchmarks: one question per file; each number is kept with its commit, hardware, versions and command."""
