"""A pair with labels that is another one on shifted data, so that all figures of the two are equal."""

from torch import nn

from pyro_vaes.data import Data
from tests.helpers.training import build


class Shifted(nn.Module):
    """A model or guide of x, given y, that is another of x - y."""

    def __init__(self, plain):
        super().__init__()
        self.plain = plain

    def forward(self, x, y):
        return self.plain(shifted(x, y))


class SometimesShifted(Shifted):
    """The same with a label that it can do without."""

    def forward(self, x, y=None):
        return self.plain(x if y is None else shifted(x, y))


class Plain(Shifted):
    """The same without labels."""

    def forward(self, x):
        return self.plain(x)


def shifted(x, y):
    return x - y.view(-1, *[1] * (x.dim() - 1))


def wrapped(kind=Shifted, **options):
    """Model and guide of a kind, of equal weights for equal options."""
    return tuple(map(kind, build(**options)))


def values(x, y=None):
    """Data of these values, half of them for training, and a quarter for each of validation and test."""
    half, quarter = len(x) // 2, len(x) // 4
    parts = {"train": slice(half), "valid": slice(half, half + quarter), "test": slice(half + quarter, len(x))}
    labels = {} if y is None else {f"y_{part}": y[rows] for part, rows in parts.items()}
    images = {f"x_{part}": x[rows, 0] for part, rows in parts.items()}
    return Data.from_arrays(**images, **labels, kind="values")
