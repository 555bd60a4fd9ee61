"""Networks: one file a family, one table of names."""
