"""Data: sources, beton files, augmentation, and the feeds that bring batches to the device."""
