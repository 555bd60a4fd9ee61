"""The host executor and its compiled parts, by family of operations; the entry point is `loaders.host.executor`.

To change or interpolate values, a thread holds an image in scratch as one 32-bit word per pixel, r | g << 8 | b << 16
("rgbx"): three channels are one load, and arithmetic vectorises over whole pixels.
"""
