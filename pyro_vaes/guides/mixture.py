"""The mixture guide, and the recursion of its weights."""

from __future__ import annotations

import copy
import math
import os

import torch
from torch import Tensor, nn

from pyro_vaes.distributions.normal_mixture import NormalMixture
from pyro_vaes.errors import InputError
from pyro_vaes.networks.positive import positive
from pyro_vaes.vae import VAE, Guide
from pyro_vaes.validation import check_whole

# Perturbation of all components but the first, in standard deviations of a parameter; identical ones remain similar.
FRESH, TRAINED = 0.1, 0.01


class Mixture(Guide):
    """Amortized mixture of mean-field posteriors, q(z | x) = Σ αₘ(x) N(μₘ(x), diag σₘ(x)²).

    Each component has an encoder of its own, a perturbed copy of ``encoder``. The weights follow the recursion
    Qₘ = (1 - εₘ(x)) Qₘ₋₁ + εₘ(x) qₘ, so that αₘ = εₘ Π_{j>m} (1 - εⱼ), with logit εₘ linear in the features of
    component m; initially they are equal. This class is the baseline ME, trained end to end: all parameters maximize
    the mixture's ELBO.

    Args:
        vae: the model.
        encoder: any module ``x -> (..., out_features)``.
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

    def __init__(self, vae: VAE, encoder: nn.Module, components: int = 4) -> None:
        check_whole("components", components)
        super().__init__(vae, copy.deepcopy(encoder), outputs=2 * vae.latent_dim)
        self.components = components
        _check_memory(components, self)
        self.encoders = nn.ModuleList(copy.deepcopy(self.encoder) for _ in range(components - 1))
        self.heads = nn.ModuleList(copy.deepcopy(self.head) for _ in range(components - 1))
        self.gates = nn.ModuleList(nn.Linear(self.head.in_features, 1) for _ in range(components - 1))
        self.gates.to(self.head.weight)
        self._spread(FRESH)

    def start_from(self, mean_field: Guide) -> None:
        """Start every component at the mean-field posterior, all but the first slightly perturbed, at equal weights."""
        super().start_from(mean_field)
        self._spread(TRAINED)

    @torch.no_grad()
    def _spread(self, perturbation: float) -> None:
        """Set the components to perturbed copies of the first one, and their weights to be equal."""
        for first, others in ((self.encoder, self.encoders), (self.head, self.heads)):
            for other in others:
                other.load_state_dict(first.state_dict())
                for value in other.parameters():
                    value.add_(perturbation * value.std(correction=0) * torch.randn_like(value))
        for index, gate in enumerate(self.gates, start=1):
            weight, bias = gate.parameters()
            weight.zero_()
            bias.fill_(-math.log(index))  # the logit of 1 / (index + 1)

    def local_parameters(self, x: Tensor) -> tuple[Tensor, ...]:
        """Means and raw scales ``(..., B, M, Z)``, and logits of εₘ, ``(..., B, M - 1)``.

        A gate takes its component's features, detached from the encoder.
        """
        inputs = self.vae.likelihood.filled_encoder_input(x)
        features = [encoder(inputs) for encoder in (self.encoder, *self.encoders)]
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
