"""Searches: sweeps and the learning-rate range test."""
