"""A run of moves: one gather (shifts and mirrors) or one bilinear sampling (all else) of the pass's input.

If all matrices map rows to rows and columns to columns, coordinates are computed once per row and column, (B, H, 1) and
(B, 1, W), not once per pixel. Weights are integers: 11 bits each way.
"""

import torch

from loaders.device.draws import Draws
from loaders.device.homography import Entry, Matrix, homography, plus, times
from loaders.policy.passes import Pass

BITS = 11
UNIT = 1 << BITS
FAR_PX = 32768.0
EXACT = ("crop", "flip")


def warp(source_nhwc: torch.Tensor, rows: torch.Tensor, pass_: Pass, draws: Draws,
         mean_rgb: torch.Tensor) -> torch.Tensor:
    """The pass's output for the images at `rows` (int64 (B,)) of `source_nhwc`, uint8 (B, out_height, out_width, 3).

    mean_rgb: uint8 (3,), the colour outside if the pass's fill is "mean".
    """
    height, width = source_nhwc.shape[1:3]
    x, y = _coordinates(homography(pass_.ops, draws), pass_, rows.device)
    across, down = _enlargement(pass_)
    x, y = _fixed(x, width, pass_.fill, across), _fixed(y, height, pass_.fill, down)
    pixels, first = source_nhwc.reshape(-1, 3), (rows * (height * width)).view(-1, 1, 1)
    reflected = pass_.fill == "reflect"
    if all(op.opcode in EXACT for op in pass_.ops):
        x, y = x >> BITS, y >> BITS
        here = pixels[first + y.clamp(0, height - 1) * width + x.clamp(0, width - 1)]
        if reflected:
            return here
        outside = ~(_inside(x, width) & _inside(y, height)).unsqueeze(-1)
        return torch.where(outside, mean_rgb, here) if pass_.fill == "mean" else here.masked_fill(outside, 0)
    (x0, x1, left, right), (y0, y1, top, bottom) = _taps(x, width), _taps(y, height)
    y0, y1 = first + y0 * width, first + y1 * width
    above = pixels[y0 + x0] * left.unsqueeze(-1) + pixels[y0 + x1] * right.unsqueeze(-1)
    below = pixels[y1 + x0] * left.unsqueeze(-1) + pixels[y1 + x1] * right.unsqueeze(-1)
    total = above * top.unsqueeze(-1) + below * bottom.unsqueeze(-1) + (1 << (2 * BITS - 1))
    if pass_.fill == "mean":
        # Taps outside have weight 0 above; the missing weight is theirs.
        missing = UNIT * UNIT - (left + right) * (top + bottom)
        total = total + missing.unsqueeze(-1) * mean_rgb
    return (total >> (2 * BITS)).to(torch.uint8)


def _enlargement(pass_: Pass) -> tuple[float, float]:
    """The factors by which the run enlarges width and height; 1 without an enlargement."""
    for op in pass_.ops:
        if op.opcode == "enlarge":
            return op.constants[1] / op.width, op.constants[0] / op.height
    return 1.0, 1.0


def _coordinates(matrix: Matrix, pass_: Pass, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The position of each output pixel in the input: x and y, float64, shapes that broadcast to (B, H, W)."""
    columns = torch.arange(pass_.out_width, dtype=torch.float64, device=device).view(1, 1, -1)
    lines = torch.arange(pass_.out_height, dtype=torch.float64, device=device).view(1, -1, 1)

    def along(row: tuple[Entry, Entry, Entry]) -> Entry:
        m = [entry.view(-1, 1, 1) if isinstance(entry, torch.Tensor) else entry for entry in row]
        return plus(plus(times(m[0], columns), times(m[1], lines)), m[2])

    x, y, z = (along(row) for row in matrix)
    if isinstance(z, float):
        return x, y
    behind = z <= 0
    return torch.where(behind, -1.0, x / z), torch.where(behind, -1.0, y / z)


def _fixed(position: torch.Tensor, size: int, fill: str, enlargement: float) -> torch.Tensor:
    """Positions in 2**-11 pixels, int32: folded back into the image, or limited to [-1, size], where the fill begins.

    If the run enlarges, the outer half pixel repeats the image's edge, and the fill blends in over one pixel of the
    enlarged image.
    """
    if fill == "reflect":
        period = 2 * (size - 1) * UNIT
        folded = torch.remainder(_rounded(position.clamp(-FAR_PX, FAR_PX - 1)), period)
        return torch.minimum(folded, period - folded)
    if enlargement == 1:
        return _rounded(position.clamp(-1, size))
    before = ((position + 0.5) * enlargement - 0.5).clamp(-1, 0)
    after = ((size - 0.5 - position) * enlargement - 0.5).clamp(-1, 0)
    return _rounded((position.clamp(0, size - 1) + before) - after)


def _rounded(position: torch.Tensor) -> torch.Tensor:
    return torch.floor(position * UNIT + 0.5).to(torch.int32)


def _inside(position: torch.Tensor, size: int) -> torch.Tensor:
    return (position >= 0) & (position < size)


def _taps(fixed: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Both neighbours along one axis, clamped to the image, and their weights, 0 for one outside."""
    first, part = fixed >> BITS, fixed & (UNIT - 1)
    second = first + 1
    return (first.clamp(0, size - 1), second.clamp(0, size - 1),
            (UNIT - part) * _inside(first, size), part * _inside(second, size))
