"""The installation, and what bounds a run."""
