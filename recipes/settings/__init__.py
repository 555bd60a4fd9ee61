"""The schema of recipes, their checks, and how they are loaded."""
