"""Batches: the stream and resident feeds, the split, the shards."""
