"""Recipes: what a training run is, as checked values. Nothing here imports torch, FFCV or the other packages."""
