"""Benchmarks: one question a file; every number with its commit, hardware, versions and command."""
