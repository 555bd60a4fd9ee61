"""What is installed, and what bounds a run."""
