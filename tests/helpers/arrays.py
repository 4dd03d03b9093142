"""Images and data sets of them, and whether torchvision reads more."""

import numpy as np
import pytest

from pyro_vaes.data import Data

try:
    import torchvision.datasets  # noqa: F401
except Exception as error:
    missing = f"torchvision cannot be imported: {error}"
else:
    missing = ""
needs_torchvision = pytest.mark.skipif(bool(missing), reason=missing)


def pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def images(n, *shape):
    """Random images, others for each number of them."""
    return pixels(n, *shape, seed=n)


def numbered(n):
    """Images whose first two pixels spell their number."""
    x = np.zeros((n, 2, 2), dtype=np.uint8)
    x[:, 0, 0], x[:, 0, 1], x[:, 1, 1] = np.arange(n) // 256, np.arange(n) % 256, 255
    return x


def numbers(split):
    return [int(a) * 256 + int(b) for a, b in split.pixels[:, 0, 0, :]]


def make(x_train, x_test=None, **options):
    return Data.from_arrays(x_train=x_train, x_test=x_train[:5] if x_test is None else x_test, **options)
