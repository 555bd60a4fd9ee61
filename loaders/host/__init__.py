"""The host executor's compiled parts, by family of operations; `loaders.host.executor` is their only door.

Where values change or are interpolated, an image is held as one 32-bit word a pixel, r | g << 8 | b << 16 ("rgbx"), in
scratch that belongs to the thread: three channels come with one load, and arithmetic vectorises over whole pixels.
"""
