"""The composition root: the values of a recipe become data, feeds, network, optimiser, step and loop."""
