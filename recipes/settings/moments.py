"""Moments of a run: an epoch, whole or not, or a share of the run, which moves with its length."""

from recipes.settings.checkers import Number, Strict

EPOCH, SHARE = Number(0), Number(0, 100)


class Moment(Strict):
    """An epoch, counted from 0, such as 3 or 1.5, or a share of the run as text, such as "12.5%"."""

    def read(self, value):
        if isinstance(value, str) and value.endswith("%"):
            return f"{SHARE.check(value[:-1]):g}%"
        epoch = EPOCH.check(value)
        return int(epoch) if epoch.is_integer() else epoch

    def help(self):
        return "an epoch >= 0 or a share of the run, 0%..100%"


def in_epochs(moment: float | str, epochs: float) -> float:
    """`moment` in epochs from the start of a run of `epochs` epochs."""
    return float(moment[:-1]) / 100 * epochs if isinstance(moment, str) else moment
