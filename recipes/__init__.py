"""Recipes: training runs as checked values. Nothing here imports torch, FFCV or the other packages."""
