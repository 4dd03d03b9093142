"""Data: loading, splitting and preprocessing."""

from pyro_vaes.data.coloured_digits import FACTORS, coloured
from pyro_vaes.data.dataset import Data
from pyro_vaes.data.labels import hide_labels
from pyro_vaes.data.load import load
from pyro_vaes.data.pixel_transform import PixelTransform
from pyro_vaes.data.preprocess import Preprocessing
from pyro_vaes.data.sources import datasets
from pyro_vaes.data.split import Split

__all__ = [
    "FACTORS",
    "Data",
    "PixelTransform",
    "Preprocessing",
    "Split",
    "coloured",
    "datasets",
    "hide_labels",
    "load",
]
