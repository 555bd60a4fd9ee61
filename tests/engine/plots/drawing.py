"""A figure before it is a PNG."""

from pathlib import Path
from unittest import mock


def figure_of(draw, *arguments, **named):
    """The figure that `draw` would write to its argument `path`."""
    with mock.patch(f"{draw.__module__}.write_png", lambda figure, path: figure):
        return draw(*arguments, path=Path("nowhere"), **named)
