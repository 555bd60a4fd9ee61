"""Figures of runs and data sets."""
