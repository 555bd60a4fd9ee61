"""Optimisation: each parameter's learning rate at each step."""
