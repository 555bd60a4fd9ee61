"""Trained networks as files for other programs: how each format is made, read back and checked."""
