"""Benchmarks: one question per file; each row records its commit, hardware, versions and command."""
