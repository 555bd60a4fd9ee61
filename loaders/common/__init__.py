"""Random draws, errors, files and hints that all loaders share."""
