"""Errors, files, text and the environment's description."""
