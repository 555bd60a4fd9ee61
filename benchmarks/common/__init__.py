"""Shared by the benchmarks: timing, results files, the README's tables, the check of a step mode."""
