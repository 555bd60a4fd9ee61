"""Standard output and errors of which nothing has to arrive: a command does not end because nobody listens."""

import contextlib
import os
from typing import TextIO


class LossyStream:
    """A text stream that drops everything once a write has failed: a closed terminal, a reader that left, a full disk.

    `lost` then says why. Its file descriptor becomes the null device's, so that nothing buffered fails later.
    """

    def __init__(self, stream: TextIO):
        self.stream, self.lost = stream, ""

    def __getattr__(self, name: str):
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        self._try(self.stream.write, text)
        return len(text)

    def flush(self) -> None:
        self._try(self.stream.flush)

    def _try(self, act, *words) -> None:
        try:
            act(*words)
        except OSError as error:
            self.lost = self.lost or error.strerror or str(error)
            with contextlib.suppress(OSError, ValueError):
                null, descriptor = os.open(os.devnull, os.O_WRONLY), self.stream.fileno()
                # What a terminal shows comes from both streams, and it is gone for both.
                for each in {descriptor, 2} if os.isatty(descriptor) else {descriptor}:
                    os.dup2(null, each)
                os.close(null)


def lossy(stream: TextIO | LossyStream) -> LossyStream:
    """`stream`, made lossy unless it is."""
    return stream if isinstance(stream, LossyStream) else LossyStream(stream)
