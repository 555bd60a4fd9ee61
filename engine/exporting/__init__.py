"""Trained networks as files that other programs run: how each format is made, read back and checked."""
