"""The host executor and its compiled parts, by family of operations; `loaders.host.executor` is the way in.

Where values change or are interpolated, an image is held as one 32-bit word per pixel, r | g << 8 | b << 16 ("rgbx"),
in scratch of the thread: three channels are one load, and arithmetic vectorises over whole pixels.
"""
