"""Base class of autoregressive flow priors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, get_args

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vaes.distributions.autoregressive_transform import AutoregressiveTransform, Rule, affine, gated, shifted
from pyro_vaes.errors import InputError, unknown
from pyro_vaes.networks.made import MADE, ConvolutionalMADE
from pyro_vaes.networks.weight_norm import FLOW_INIT_SCALE, set_init_scale
from pyro_vaes.priors.base import Prior
from pyro_vaes.validation import checked_sizes

TransformKind = Literal["mean", "affine", "gated"]
RULES: dict[str, tuple[Rule, int]] = {"mean": (shifted, 1), "affine": (affine, 2), "gated": (gated, 2)}


class Flow(Prior):
    """Base class of flow priors, which differ in their masked networks; see :class:`AutoregressiveFlow`.

    Args:
        latent_dim: size Z of the latent, 2 or more.
        flows: number K of transforms.
        transform: kind of the transforms, ``"mean"``, ``"affine"`` or ``"gated"``.
        network: function of the number of outputs per coordinate and of ``reverse`` that returns a masked network.

    Attributes:
        flows: the masked networks, in the order from z to ε.

    Raises:
        InputError: If the latent has one dimension, a size is not a positive integer, or the transform is unknown.
    """

    def __init__(
        self, latent_dim: int, flows: int, transform: TransformKind, network: Callable[[int, bool], nn.Module]
    ) -> None:
        super().__init__(latent_dim)
        checked_sizes(flows=(flows,))
        if latent_dim == 1:
            raise InputError(
                "latent_dim is 1: an autoregressive flow can only shift and scale a single coordinate; "
                "take latent_dim=2 or more, or the GaussianMixture prior"
            )
        if transform not in RULES:
            raise unknown("transform", transform, get_args(TransformKind))
        self.rule, outputs = RULES[transform]
        networks = (network(outputs, k % 2 == 1) for k in range(flows))
        self.flows: Iterable[MADE | ConvolutionalMADE] = nn.ModuleList(networks)  # type: ignore[assignment]
        for each in self.flows:
            set_init_scale(each, FLOW_INIT_SCALE)
        self.loc: Tensor
        self.register_buffer("loc", torch.zeros(latent_dim), persistent=False)

    def forward(self) -> dist.TorchDistribution:
        """The distribution of f(ε)."""
        base = dist.Normal(self.loc, torch.ones_like(self.loc)).to_event(1)
        return dist.TransformedDistribution(base, [each.inv for each in reversed(self.transforms())])

    def transforms(self) -> list[AutoregressiveTransform]:
        """T₁ … T_K, the bijections whose composition maps z to ε."""
        return [AutoregressiveTransform(network, self.rule) for network in self.flows]
