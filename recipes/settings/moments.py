"""Lengths and moments of a run: epochs, whole or not, and shares of the run, which move with its length."""

import math

from recipes.settings.checkers import Number, Strict, Whole

EPOCH, SHARE = Whole(0), Number(0, 100)


class Epochs(Number):
    """A number of epochs above 0; 8.75 ends after three quarters of the ninth."""

    def __init__(self, high: float = math.inf):
        super().__init__(0, high, above=True)

    def read(self, value):
        epochs = super().read(value)
        return int(epochs) if epochs.is_integer() else epochs


class Moment(Strict):
    """An epoch, counted from 0, or a share of the run as text, such as "12.5%"."""

    def read(self, value):
        if isinstance(value, str) and value.endswith("%"):
            return f"{SHARE.check(value[:-1]):g}%"
        return EPOCH.check(value)

    def help(self):
        return "a whole epoch >= 0 or a share of the run, 0%..100%"


def in_epochs(moment: int | str, epochs: float) -> float:
    """`moment` in epochs from the start of a run of `epochs` epochs."""
    return float(moment[:-1]) / 100 * epochs if isinstance(moment, str) else moment
