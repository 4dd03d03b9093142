"""The VampPrior."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vaes.errors import InputError
from pyro_vaes.priors.base import Prior
from pyro_vaes.validation import checked_sizes

MARGIN = 0.05  # distance of the initial pseudo-inputs from 0 and 1, where the sigmoid saturates


class VampPrior(Prior):
    """Variational mixture of posteriors, p(z) = 1/K Σₖ q(z | uₖ), with learned pseudo-inputs uₖ in [0, 1].

    The model's guide provides q and owns its parameters; the prior only has the logits of the pseudo-inputs,
    uₖ = σ(logits), which are created with the guide and initialized by ``fit`` from training data. Every guide whose
    posterior depends on x alone is supported, such as ``MeanField`` and ``FullCovariance``; ``Laplace`` is not, since
    its posterior depends on p(z).

    Args:
        latent_dim: size Z of the latent.
        event_shape: shape of a datum; by default that of the model's data.
        components: number K of pseudo-inputs.

    Attributes:
        posterior: the guide's function x -> q(z | x); None until a guide is built.

    Shapes:
        ``pseudo_inputs (K, *event_shape)``.

    Raises:
        InputError: If a size is not a positive integer, or the prior is used without a guide, with an unsupported
            guide, or with a second guide.

    References:
        VAE with a VampPrior (Tomczak, Welling, 2018). The paper clips pseudo-inputs to [0, 1], which has no gradient
        at the ends, where binary data lie; the sigmoid is this project's choice.

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
        self._in_forward = False

    def forward(self) -> dist.TorchDistribution:
        """1/K Σₖ q(z | uₖ)."""
        if self.posterior is None:
            raise InputError(
                "VampPrior is a mixture of the guide's posteriors, but this model has no guide yet: "
                "build one first, such as MeanField(vae, encoder)"
            )
        if self._in_forward:
            raise InputError(
                "VampPrior is a mixture of the guide's posteriors, but the posterior of this guide depends on the "
                "prior: take a guide whose posterior depends on x alone, such as MeanField or FullCovariance"
            )
        self._in_forward = True
        try:
            posteriors = self.posterior(self.pseudo_inputs)
        finally:
            self._in_forward = False
        return dist.MixtureSameFamily(
            dist.Categorical(logits=self.pseudo_logits.new_zeros(self.components)), posteriors
        )

    def probe(self) -> None:
        """Nothing to check without a guide, of whose posteriors it is made."""

    @property
    def pseudo_inputs(self) -> Tensor:
        """uₖ, shape ``(K, *event_shape)``."""
        return self.pseudo_logits.sigmoid()

    def bind_posterior(self, posterior: Callable[[Tensor], dist.TorchDistribution], like: Tensor) -> None:
        """Use the guide's posterior as q, and create the pseudo-inputs with the shape of a datum.

        Raises:
            InputError: If a posterior is bound already, since another one would change p(z).
        """
        if self.posterior is not None:
            raise InputError(
                "this VampPrior is a mixture of another guide's posteriors already: "
                "build the second guide on a VAE with a prior of its own"
            )
        self.posterior = posterior
        self.pseudo_logits = nn.Parameter(like.new_empty(self.components, *(self.event_shape or like.shape)).normal_())

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Initialize the pseudo-inputs with training examples drawn without replacement.

        If there are fewer examples than pseudo-inputs, the others keep their random values.

        Raises:
            InputError: If the data are not in [0, 1].
        """
        other = x[~((x >= 0) & (x <= 1))]
        if other.numel():
            raise InputError(f"VampPrior needs data in [0, 1], but x holds {other[0].item():.4g}: take another prior")
        drawn = x[torch.randperm(len(x))[: self.components].to(x.device)]
        self.pseudo_logits[: len(drawn)] = (MARGIN + (1 - 2 * MARGIN) * drawn).logit()
