"""Optimisation: which parameter learns at which rate, at which step."""
