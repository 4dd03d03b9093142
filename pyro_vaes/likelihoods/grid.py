"""The check that pixels are gray levels."""

from __future__ import annotations

from torch import Tensor

from pyro_vaes.distributions.discretized_logistic import UniformGrid
from pyro_vaes.errors import InputError


def check_grid(x: Tensor, name: str, num_bins: int) -> None:
    """Check that all values are gray levels r / (L - 1), r = 0 … L - 1.

    Args:
        x: the data.
        name: name of the likelihood, for the error.
        num_bins: number L of gray levels.

    Raises:
        InputError: If a value is another one.

    Example:
        >>> check_grid(torch.tensor([0.0, 0.5, 1.0]), "Categorical", 3)
    """
    other = x[~UniformGrid(num_bins).check(x)]
    if other.numel():
        hint = 'binarize="dynamic"' if num_bins == 2 else "dequantize=False"
        raise InputError(
            f"{name}(num_bins={num_bins}) needs gray levels r / {num_bins - 1}, but x holds {other[0].item():.4g}: "
            f"load the data with {hint} (as the command line does), or give the number of their gray levels, such as "
            f'num_bins=17 for the digits (command line: --likelihood "{name.lower()}(num_bins=17)")'
        )
