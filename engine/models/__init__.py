"""Networks: one file per family, and the registry of their names."""
