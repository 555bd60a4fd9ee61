"""Errors, files and the description of the environment."""
