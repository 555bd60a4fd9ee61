"""The device executor's kernels in Triton: runs of passes in one launch each, the pixels of `loaders.device`.

A thread block holds an image, or a tile of a large one: red, green and blue as int32 (BLOCK,), one element per pixel.
Each kernel is compiled for one run of ops (`loaders.kernels.runs`), whose numbers are constants in it.
"""
