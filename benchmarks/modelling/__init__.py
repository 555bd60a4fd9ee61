"""A model of speed: what a recipe's step computes and moves, the rates of devices, and the times that follow."""
