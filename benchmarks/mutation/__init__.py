"""Mutants of the code, and what its tests say of them."""
