"""Images as the bytes of files, real ones and ones that only claim a size."""

import io
import struct
import zlib


def stored(image, kind="PNG", **options):
    """A Pillow image as a file of format `kind`."""
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def png(width, height, rows=b""):
    """A PNG file that claims a size and holds only `rows`."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
