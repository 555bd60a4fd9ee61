"""Draws, errors and files."""
