"""The VampPrior."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vaes.errors import InputError
from pyro_vaes.priors.base import Prior
from pyro_vaes.validation import checked_sizes

MARGIN = 0.05  # pseudo-inputs start this far inside [0, 1], where the sigmoid still has a slope


class VampPrior(Prior):
    """Variational mixture of posteriors, p(z) = 1/K Σₖ q(z | uₖ), with learnt pseudo-inputs uₖ in [0, 1].

    The guide that is built on the model becomes q, and its parameters stay its own: here are only the logits of
    the pseudo-inputs, uₖ = σ(logits), which come into being with the guide. ``fit`` sets them to training data.
    Every guide whose posterior depends on x alone fits, such as ``MeanField`` and ``FullCovariance``; ``Laplace``
    does not, whose posterior asks for p(z) in turn.

    Args:
        latent_dim: size Z of the latent.
        event_shape: shape of a datum; by default that of the decoder's features.
        components: number K of pseudo-inputs.

    Attributes:
        posterior: the function x -> q(z | x) of the guide, None before there is one.

    Shapes:
        ``pseudo_inputs (K, *event_shape)``.

    Raises:
        InputError: for sizes that are no positive whole numbers; when used before there is a guide, with one that
            does not fit, or with a second one.

    References:
        VAE with a VampPrior (Tomczak, Welling, 2018). There the pseudo-inputs are kept in [0, 1] by clipping, which
        has no gradient at the ends, where binary data lie; the sigmoid is this project's choice.

    Example:
        >>> import pyro_vaes as pv
        >>> prior = VampPrior(2, components=5)
        >>> vae = pv.VAE(pv.networks.MLPDecoder(2, (1, 8, 8)), prior, pv.likelihoods.Bernoulli())
        >>> guide = pv.guides.MeanField(vae, encoder)
        >>> prior.pseudo_inputs.shape, vae.sample(3).shape
        (torch.Size([5, 1, 8, 8]), torch.Size([3, 1, 8, 8]))
    """

    posterior: Callable[[Tensor], dist.TorchDistribution] | None
    pseudo_logits: nn.Parameter

    def __init__(self, latent_dim: int, event_shape: Sequence[int] | None = None, components: int = 50) -> None:
        super().__init__(latent_dim)
        checked_sizes(components=(components,), **({} if event_shape is None else {"event_shape": event_shape}))
        self.event_shape = event_shape
        self.components = components
        self.posterior = None
        self.register_parameter("pseudo_logits", None)
        self._asked = False

    def forward(self) -> dist.TorchDistribution:
        """1/K Σₖ q(z | uₖ)."""
        if self.posterior is None:
            raise InputError(
                "VampPrior is a mixture of a guide's posteriors, but this model has no guide yet: "
                "build one first, such as MeanField(vae, encoder)"
            )
        if self._asked:
            raise InputError(
                "VampPrior is made of the guide's posterior, but this one asks for the prior in turn: "
                "take a guide whose posterior depends on x alone, such as MeanField or FullCovariance"
            )
        self._asked = True
        try:
            posteriors = self.posterior(self.pseudo_inputs)
        finally:
            self._asked = False
        return dist.MixtureSameFamily(
            dist.Categorical(logits=self.pseudo_logits.new_zeros(self.components)), posteriors
        )

    @property
    def pseudo_inputs(self) -> Tensor:
        """uₖ, shape ``(K, *event_shape)``."""
        return self.pseudo_logits.sigmoid()

    def bind_posterior(self, posterior: Callable[[Tensor], dist.TorchDistribution], like: Tensor) -> None:
        """Take the guide's posterior for q, and create the pseudo-inputs in the shape of a datum.

        Raises:
            InputError: If another guide's is bound already, since this one would change p(z).
        """
        if self.posterior is not None:
            raise InputError(
                "this VampPrior is made of another guide's posterior already: "
                "build the second guide on a VAE with a prior of its own"
            )
        self.posterior = posterior
        self.pseudo_logits = nn.Parameter(like.new_empty(self.components, *(self.event_shape or like.shape)).normal_())

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Set the pseudo-inputs to training data drawn without replacement, as far as there are enough.

        Raises:
            InputError: where the data are not in [0, 1].
        """
        other = x[~((x >= 0) & (x <= 1))]
        if other.numel():
            raise InputError(f"VampPrior needs data in [0, 1], but x holds {other[0].item():.4g}: take another prior")
        drawn = x[torch.randperm(len(x))[: self.components].to(x.device)]
        self.pseudo_logits[: len(drawn)] = (MARGIN + (1 - 2 * MARGIN) * drawn).logit()
