"""The matrix products of the mean-field step alone, each by the faster of torch's libraries: a bound on its time."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from benchmarks.helpers.pairs import HIDDEN, IMAGE, LATENT
from pyro_vaes.training.products import choose_products


def products_alone(batch: int) -> Callable[[], list[Tensor]]:
    """A function that multiplies the matrices of one step: two networks, forward and backward.

    Args:
        batch: examples per step.
    """
    size = math.prod(IMAGE)
    pairs: list[tuple[Tensor, Tensor]] = []
    for fan_in, fan_out in (*pairwise((size, *HIDDEN, 2 * LATENT)), *pairwise((LATENT, *HIDDEN, size))):
        inputs, weight, gradient = (
            torch.randn(*each) for each in ((batch, fan_in), (fan_out, fan_in), (batch, fan_out))
        )
        pairs += [(inputs, weight.T), (gradient.T, inputs), (gradient, weight)]
    del pairs[2]  # the gradient of the data, which is not needed
    factors = [factor for pair in pairs for factor in pair]
    graph = make_fx(lambda *each: [one @ other for one, other in zip(each[::2], each[1::2], strict=True)])(*factors)
    choose_products(graph, known={})
    return lambda: graph(*factors)
