"""The schema that recipes are checked against, and how they are loaded."""
