"""Digest and pixels of an epoch, for tests of the feeds."""

import hashlib


def digest(feed, epoch=0, start=0):
    """One hash of an epoch's pixels, labels and indices, in order."""
    hashed = hashlib.sha256()
    with feed.epoch(epoch, start) as batches:
        for batch in batches:
            for tensor in batch:
                hashed.update(tensor.cpu().numpy().tobytes())
    return hashed.hexdigest()


def pixels_by_sample(feed, epoch=0):
    """Index of each sample of an epoch -> its pixels."""
    with feed.epoch(epoch) as batches:
        return {int(index): image.numpy().tobytes() for batch in batches
                for index, image in zip(batch.indices, batch.images_bhwc, strict=True)}
