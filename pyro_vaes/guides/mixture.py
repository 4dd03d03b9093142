"""The mixture guide, and the recursion of its weights."""

from __future__ import annotations

import copy
import math
import os

import torch
from torch import Tensor, nn

from pyro_vaes.distributions.normal_mixture import NormalMixture
from pyro_vaes.errors import InputError
from pyro_vaes.guides.mean_field import MeanField
from pyro_vaes.networks.positive import positive
from pyro_vaes.vae import VAE, Guide
from pyro_vaes.validation import check_whole

PERTURBATION = 0.1  # in standard deviations of a parameter; identical components would remain identical


class Mixture(Guide):
    """Amortized mixture of mean-field posteriors, q(z | x) = Σ αₘ(x) N(μₘ(x), diag σₘ(x)²).

    Each component has an encoder of its own, a perturbed copy of ``encoder``. The weights follow the recursion
    Qₘ = (1 - εₘ(x)) Qₘ₋₁ + εₘ(x) qₘ, so that αₘ = εₘ Π_{j>m} (1 - εⱼ); initially they are equal. This class is the
    baseline ME, trained end to end: all parameters maximize the mixture's ELBO.

    Args:
        vae: the model.
        encoder: any module ``x -> (..., out_features)``, or a trained :class:`MeanField` guide from which every
            component is initialized.
        components: number M of components.

    Shapes:
        ``posterior(x)`` has batch shape ``(..., B)`` and event shape ``(Z,)``.

    Raises:
        InputError: If there is no component, or the components do not fit into memory.

    References:
        Recursive Inference for Variational Autoencoders (Kim, Pavlovic, NeurIPS 2020), baseline ME.

    Example:
        >>> guide = Mixture(vae, encoder, components=3)
        >>> guide.posterior(x).logits.exp()[0].detach()
        tensor([0.3333, 0.3333, 0.3333])
    """

    loss = "MixtureELBO"
    gate_rate = 0.03  # scale of a gate's output, which slows its training: else the best component takes all weight

    def __init__(self, vae: VAE, encoder: nn.Module | MeanField, components: int = 4) -> None:
        check_whole("components", components)
        start = encoder if isinstance(encoder, MeanField) else None
        super().__init__(vae, copy.deepcopy(encoder if start is None else start.encoder), outputs=2 * vae.latent_dim)
        if start is not None:
            self.head = copy.deepcopy(start.head)
        self.components = components
        _check_memory(components, self)
        self.encoders = nn.ModuleList(_perturbed(self.encoder) for _ in range(components - 1))
        self.heads = nn.ModuleList(_perturbed(self.head) for _ in range(components - 1))
        gates = (_Gate(self.head.in_features, index, self.gate_rate) for index in range(1, components))
        self.gates = nn.ModuleList(gates).to(self.head.weight)

    def local_parameters(self, x: Tensor) -> tuple[Tensor, ...]:
        """Means and raw scales ``(..., B, M, Z)``, and logits of εₘ, ``(..., B, M - 1)``.

        A gate takes its component's features, detached from the encoder.
        """
        features = [encoder(x) for encoder in (self.encoder, *self.encoders)]
        heads = (self.head, *self.heads)
        outputs = torch.stack([head(each) for head, each in zip(heads, features, strict=True)], -2)
        locs, raw_scales = outputs.chunk(2, -1)
        gates = [gate(each.detach()) for gate, each in zip(self.gates, features[1:], strict=True)]
        empty = locs[..., 0, :0]
        return locs, raw_scales, torch.cat(gates, -1) if gates else empty

    def family(self, parameters: tuple[Tensor, ...], x: Tensor) -> NormalMixture:
        """Σ αₘ N(μₘ, diag σₘ²)."""
        locs, raw_scales, gates = parameters
        return NormalMixture(recursive_log_weights(gates), locs, positive(raw_scales))


class _Gate(nn.Linear):
    """Logit of ε of component m, initially that of 1 / (m + 1), so that all weights are equal."""

    def __init__(self, in_features: int, index: int, rate: float) -> None:
        super().__init__(in_features, 1)
        self.initial, self.rate = -math.log(index), rate
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, features: Tensor) -> Tensor:
        return self.initial + self.rate * super().forward(features)


def recursive_log_weights(gates: Tensor) -> Tensor:
    """log αₘ = log εₘ + Σ_{j>m} log (1 - εⱼ), from the logits of ε: ``(..., M - 1)`` to ``(..., M)``.

    Example:
        >>> recursive_log_weights(torch.zeros(2)).exp()
        tensor([0.2500, 0.2500, 0.5000])
    """
    zeros = torch.zeros_like(gates[..., :1]) if gates.shape[-1] else gates.new_zeros((*gates.shape[:-1], 1))
    log_own = torch.cat([zeros, nn.functional.logsigmoid(gates)], -1)
    log_rest = nn.functional.logsigmoid(-gates).flip(-1).cumsum(-1).flip(-1)
    return log_own + torch.cat([log_rest, zeros], -1)


def _check_memory(components: int, one: nn.Module) -> None:
    """Check that the components fit into memory, each with weights, gradients and Adam's two moments."""
    parameter = next(one.parameters())
    needed = 4 * (components - 1) * sum(p.numel() * p.element_size() for p in one.parameters())
    if parameter.is_cuda:
        free = torch.cuda.mem_get_info(parameter.device)[0]
    else:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > free:
        fits = 1 + int((components - 1) * free / needed)
        raise InputError(
            f"{components} components need about {needed / 2**30:.1f} GiB to train, but {free / 2**30:.1f} GiB are "
            f"free: give at most {fits}, or a smaller encoder"
        )


def _perturbed(module: nn.Module) -> nn.Module:
    module = copy.deepcopy(module)
    with torch.no_grad():
        for value in module.parameters():
            value.add_(PERTURBATION * value.std(correction=0) * torch.randn_like(value))
    return module
