"""Data: sources, beton files, the law of augmentation, and the feeds that bring batches to the device."""
