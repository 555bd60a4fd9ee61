"""Figures of images with text: cards (an image, some lines) and strips (a title, a row of images)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from engine.plots.figure import FONT_PT, cut, new_figure
from engine.plots.figure_spec import BLACK, GREEN, VERMILION

# Signs repeat the colours for a print in grey.
MARKS = {"right": ("✓", GREEN), "wrong": ("✗", VERMILION), "": ("", BLACK)}
CARD_IN, STRIP_IN, NARROWEST_IN = 1.8, 1.0, 4.0
TITLE_IN, LINE_IN, GAP_IN = 0.45, 0.18, 0.12
SMALL_PT = FONT_PT - 3
# In the small font, for its widest letters.
LETTERS_PER_INCH = 15
GAP_SHARE = 16


@dataclass(frozen=True)
class Card:
    """image_hwc uint8 (H, W, 3) below `lines` of text; mark: "right", "wrong", or "" for neither."""

    image_hwc: np.ndarray
    lines: tuple[str, ...]
    mark: str = ""


@dataclass(frozen=True)
class Strip:
    """images uint8 (H, W, 3), all of one size, below `title`."""

    title: str
    images: Sequence[np.ndarray]


def cards_figure(cards: Sequence[Card], title: str, columns: int = 4) -> Figure:
    """The cards in rows of `columns`, each line of text shortened to its card; all images have one shape."""
    columns = min(columns, len(cards))
    rows, lines = -(-len(cards) // columns), max(len(card.lines) for card in cards)
    height, width, _ = cards[0].image_hwc.shape
    width_in, text_in = CARD_IN * width / height, LINE_IN * lines + GAP_IN
    axes = sheet(columns * (width_in + GAP_IN) + GAP_IN, rows * (CARD_IN + text_in + GAP_IN) + TITLE_IN, title)
    for number, card in enumerate(cards):
        x = GAP_IN + number % columns * (width_in + GAP_IN)
        y = TITLE_IN + number // columns * (CARD_IN + text_in + GAP_IN) + text_in
        sign, colour = MARKS[card.mark]
        text = "\n".join(cut(line, int(LETTERS_PER_INCH * width_in) - (2 if sign else 0)) for line in card.lines)
        axes.text(x, y - 0.05, f"{sign} {text}".strip(), fontsize=SMALL_PT, color=colour, va="bottom", parse_math=False)
        axes.imshow(card.image_hwc, extent=(x, x + width_in, y + CARD_IN, y), aspect="auto", interpolation="nearest")
        axes.add_patch(Rectangle((x, y), width_in, CARD_IN, fill=False, color=colour, linewidth=2 if sign else 0.5))
    return axes.figure


def strips_figure(strips: Sequence[Strip], title: str) -> Figure:
    """The strips below each other, all images in one height."""
    longest = max(len(strip.images) for strip in strips)
    width_in, step_in = longest * (STRIP_IN + GAP_IN) + GAP_IN, STRIP_IN + LINE_IN + GAP_IN
    axes = sheet(width_in, len(strips) * step_in + TITLE_IN, title)
    for number, strip in enumerate(strips):
        y = TITLE_IN + number * step_in + LINE_IN
        axes.text(GAP_IN, y - 0.04, cut(strip.title, int(LETTERS_PER_INCH * width_in)), fontsize=SMALL_PT, va="bottom",
                  parse_math=False)
        for place, image in enumerate(strip.images):
            x = GAP_IN + place * (STRIP_IN + GAP_IN)
            axes.imshow(image, extent=(x, x + STRIP_IN, y + STRIP_IN, y), aspect="auto", interpolation="nearest")
    return axes.figure


def sheet(width_in: float, height_in: float, title: str) -> Axes:
    """Axes over a whole new figure, in inches from the top left: far faster than axes for each image."""
    figure = new_figure(max(width_in, NARROWEST_IN), height_in)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, figure.get_figwidth()), ylim=(height_in, 0))
    axes.set_axis_off()
    axes.text(GAP_IN, TITLE_IN / 2, cut(title, int(LETTERS_PER_INCH * figure.get_figwidth() * 0.75)), va="center",
              fontsize=FONT_PT + 1, fontweight="bold", parse_math=False)
    return axes


def in_a_row(images: Sequence[np.ndarray]) -> np.ndarray:
    """uint8 images (H, W, 3) of one size side by side, white between them."""
    height, width, _ = images[0].shape
    white = np.full((height, max(1, width // GAP_SHARE), 3), 255, np.uint8)
    return np.concatenate([part for image in images for part in (white, image)][1:], axis=1)


def coloured(map_hw: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3): a float map (H, W) from its lowest value (dark) to its highest (yellow); a flat map is dark."""
    values = np.nan_to_num(np.asarray(map_hw, np.float64))
    span = np.ptp(values)
    scaled = (values - values.min()) / span if span > 0 else np.zeros_like(values)
    return np.round(colormaps["viridis"](scaled)[:, :, :3] * 255).astype(np.uint8)
