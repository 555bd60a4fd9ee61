"""Errors, files, text and the description of the environment."""
