"""Beton files: the format, the verified cache, what they hold."""
