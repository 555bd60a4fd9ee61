"""The device executor's parts: draws, moves, photometric steps and covers as batched torch, without waiting for the
device and without control flow that depends on data. `loaders.device.executor` puts them together."""
