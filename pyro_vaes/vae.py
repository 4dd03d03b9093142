"""The contract: a model p(x, z) = p(z) p(x | decoder(z)), a guide q(z | x), their sites and shapes.

Sites: the latent ``"z"`` and the observation ``"x"``, both inside ``pyro.plate("data", B)``. The batch of data
is ``(B, *event_shape)``. Whatever a network or distribution here takes may carry more leading dimensions,
``(S, B, ...)``, for S samples a datum.
"""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vaes.errors import InputError
from pyro_vaes.likelihoods import Likelihood
from pyro_vaes.networks.shapes import out_features
from pyro_vaes.param_store import register_params
from pyro_vaes.priors import Prior


class VAE(nn.Module):
    """The model p(x, z) = p(z) p(x | decoder(z)); calling it with a batch x is the Pyro model.

    Args:
        decoder: any module ``z (..., Z) -> features (..., *features_shape)``.
        prior: p(z).
        likelihood: p(x | features).

    Attributes:
        latent_dim: size Z of the latent.
        features_shape: shape of the decoder's output for one datum.

    Raises:
        InputError: where the decoder does not take the prior's latents.

    References:
        Auto-Encoding Variational Bayes (Kingma, Welling, 2014).

    Example:
        >>> from pyro_vaes.likelihoods import Gaussian
        >>> from pyro_vaes.networks import MLPDecoder
        >>> from pyro_vaes.priors import StandardNormal
        >>> vae = VAE(MLPDecoder(2, (1, 8, 8), hidden=(16,)), StandardNormal(2), Gaussian())
        >>> vae.sample(3).shape, vae.log_joint(torch.zeros(3, 1, 8, 8), torch.zeros(5, 3, 2)).shape
        (torch.Size([3, 1, 8, 8]), torch.Size([5, 3]))
    """

    def __init__(self, decoder: nn.Module, prior: Prior, likelihood: Likelihood) -> None:
        super().__init__()
        self.decoder = decoder
        self.prior = prior
        self.likelihood = likelihood
        self.latent_dim = prior.latent_dim
        self.features_shape = self._probe().shape[1:]
        likelihood.set_event_dim(len(self.features_shape))

    @property
    def priors(self) -> list[Prior]:
        """The prior, as that of the only level."""
        return [self.prior]

    def forward(self, x: Tensor) -> Tensor:
        """The Pyro model: sites ``z`` and ``x`` (observed) in the plate ``data``; returns z."""
        register_params(self)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior())
            pyro.sample("x", self.likelihood(self.decoder(z)), obs=x)
        return z

    def decode(self, z: Tensor) -> Tensor:
        """E[x | z]: ``(..., Z)`` to ``(..., *event_shape)``."""
        return self.likelihood.mean(self.decoder(z))

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """Log p(x, z) in nats: ``x (B, *event_shape)`` and ``z (..., B, Z)`` to ``(..., B)``."""
        return self.prior().log_prob(z) + self.likelihood(self.decoder(z)).log_prob(x)

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """N draws of x from the model, shape ``(n, *event_shape)``."""
        return self.likelihood(self.decoder(*self.sample_latents(n))).sample()

    @torch.no_grad()
    def sample_latents(self, n: int) -> list[Tensor]:
        """N draws of z from the prior, ``(n, Z)``, as those of the only level."""
        return [self.prior().sample((n,))]

    @torch.no_grad()
    def _probe(self) -> Tensor:
        """Features at z = 0, with a message where decoder and prior do not fit."""
        reference = next(self.decoder.parameters(), torch.empty(0))
        z = torch.zeros(1, self.latent_dim, dtype=reference.dtype, device=reference.device)
        training = self.decoder.training
        try:
            return self.decoder.eval()(z)
        except (RuntimeError, ValueError) as error:
            raise InputError(
                f"the decoder does not take latents of the prior's size {self.latent_dim} ({error}): "
                "give prior and decoder the same latent size"
            ) from error
        finally:
            self.decoder.train(training)


class Guide(nn.Module):
    """Base class of guides q(z | x) for one latent; calling one with a batch x is the Pyro guide.

    A new guide implements :meth:`posterior` and nothing else.

    Args:
        vae: the model; not registered here, its parameters stay its own.
        encoder: any module ``x (..., *event_shape) -> (..., out_features)``.
        outputs: size of the linear head on top of the encoder.

    Attributes:
        vae: the model.
        encoder: the encoder.
        head: the linear layer from the encoder's features to the family's parameters.
        analytic_kl: whether losses take KL(q || p) in closed form where one is registered. A guide whose
            posterior follows the model's says no: there the noise of log q cancels that of log p(x, z).
        loss: name of the loss in ``pyro_vaes.losses`` that trains this guide unless another is given.
    """

    vae: VAE
    analytic_kl: bool = True
    loss: str = "ELBO"

    def __init__(self, vae: VAE, encoder: nn.Module, outputs: int) -> None:
        super().__init__()
        self.__dict__["vae"] = vae  # past nn.Module, which would register the model's parameters here too
        self.encoder = encoder
        self.head = nn.Linear(out_features(encoder), outputs)
        vae.prior.bind_posterior(self.posterior, self.head.weight.new_empty(vae.features_shape))

    def posterior(self, x: Tensor) -> dist.TorchDistribution:
        """q(z | x), batch shape ``(..., B)`` and event shape ``(Z,)``."""
        raise NotImplementedError(f"{type(self).__name__} must implement posterior(x)")

    def local_heads(self) -> list[nn.Module]:
        """The layers whose outputs are the parameters of one datum's q(z | x); set free, they reach every member."""
        return [self.head]

    def forward(self, x: Tensor) -> Tensor:
        """The Pyro guide: site ``z`` in the plate ``data``; returns z."""
        register_params(self)
        with pyro.plate("data", len(x)):
            return pyro.sample("z", self.posterior(x))
