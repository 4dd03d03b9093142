"""The contract: a model p(x, z) = p(z) p(x | decoder(z)), a guide q(z | x), their sites and shapes.

Sites: the latent ``"z"``, or ``"z1"`` (the lowest) to ``"zL"`` of a hierarchy, and the observation ``"x"``, all inside
``pyro.plate("data", B)``. A batch of data is ``(B, *event_shape)``. Networks and distributions take more leading
dimensions too, ``(S, B, ...)`` for S samples of each datum.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Self

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn

from pyro_vaes.errors import InputError
from pyro_vaes.given import TakesGiven, bind, in_turn
from pyro_vaes.likelihoods import Likelihood
from pyro_vaes.networks.copy_weights import check_sizes, copy_rows, copy_weights
from pyro_vaes.networks.evaluation_mode import evaluation_mode
from pyro_vaes.networks.probe import check_encoder, probe_decoder
from pyro_vaes.networks.shapes import head_on
from pyro_vaes.plate import batch_plate
from pyro_vaes.priors import Prior

Posteriors = dict[str, dist.TorchDistribution]


class LatentVariableModel(TakesGiven):
    """Base class of models p(z_1, …, z_L) p(x | z); calling one with a batch x is the Pyro model.

    A new model implements :meth:`draw`, :meth:`features` and :meth:`log_prior`.

    Args:
        decoder: the module behind :meth:`features`.
        likelihood: p(x | features).
        latent_dims: size of each latent, the lowest first.

    Attributes:
        priors: the priors that are not conditional on another latent, by site.
        features_shape: shape of the decoder's output for one datum.
        event_shape: shape of one datum.

    Shapes:
        ``x (B, *event_shape)``; latents by site, ``(B, Z_l)``; ``log_joint`` of ``z_l (..., B, Z_l)`` is ``(..., B)``.

    Raises:
        InputError: If decoder, latents and likelihood do not fit each other; when called, if x has another shape.
    """

    priors: Mapping[str, Prior]

    def __init__(self, decoder: nn.Module, likelihood: Likelihood, latent_dims: Sequence[int]) -> None:
        super().__init__()
        self.decoder, self.likelihood, self.latent_dims = decoder, likelihood, tuple(latent_dims)
        with evaluation_mode(self):
            self.features_shape = probe_decoder(bind(self, self.example_given()).features, decoder, self.latent_dims)
        likelihood.set_event_dim(len(self.features_shape))
        self.event_shape = likelihood.probe(self.features_shape)

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the continuous latents, the lowest first, ``("z",)``, or ``("z1", …, "zL")`` of several."""
        return ("z",) if len(self.latent_dims) == 1 else tuple(f"z{i}" for i, _ in enumerate(self.latent_dims, 1))

    def draw(self) -> list[Tensor]:
        """Sample the latents' sites, inside the plate; returns z_1 to z_L."""
        raise NotImplementedError(f"{type(self).__name__} must implement draw()")

    def features(self, *z: Tensor) -> Tensor:
        """Features of the likelihood at z_1 to z_L."""
        raise NotImplementedError(f"{type(self).__name__} must implement features(*z)")

    def log_prior(self, *z: Tensor) -> Tensor:
        """Log p(z_1, …, z_L) in nats, clusters summed out."""
        raise NotImplementedError(f"{type(self).__name__} must implement log_prior(*z)")

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> dict[str, Tensor]:
        """The Pyro model: the latents' sites and ``x`` (observed, where the mask is True); returns the latents."""
        with batch_plate(self, self, x, mask=mask) as (_, x):
            z = self.draw()
            pyro.sample("x", self.likelihood.observation(self.features(*z), x), obs=x)
        return dict(zip(self.sites, z, strict=True))

    def check_event_shape(self, event_shape: Sequence[int]) -> None:
        """Refuse data of another shape than the model's, which could broadcast against it; names both shapes."""
        if tuple(event_shape) != self.event_shape:
            raise InputError(
                f"the data have the shape {tuple(event_shape)}, but the model's have {tuple(self.event_shape)}: give "
                "data of the model's shape, or build the decoder for the shape of the data"
            )

    def decode(self, *z: Tensor) -> Tensor:
        """E[x | z]: each ``(..., Z_l)`` to ``(..., *event_shape)``."""
        return self.likelihood.mean(self.features(*z))

    def decode_from(self, site: str, *z: Tensor) -> Tensor:
        """E[x | z] as ``site`` moves, with the latents that depend on it at their conditional means; here none does."""
        return self.decode(*z)

    def log_joint(self, x: Tensor, *z: Tensor) -> Tensor:
        """Log p(x, z) in nats: ``x (B, *event_shape)`` and each ``z_l (..., B, Z_l)`` to ``(..., B)``."""
        return self.log_prior(*z) + self.likelihood.observation(self.features(*z), x).log_prob(x)

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """N draws of x from the model, shape ``(n, *event_shape)``."""
        model = in_turn(self, n)
        return model.likelihood(model.features(*model.sample_latents(n))).sample()

    @torch.no_grad()
    def sample_latents(self, n: int) -> list[Tensor]:
        """N draws of z_1 to z_L from the prior, each ``(n, Z_l)``."""
        with poutine.block(), pyro.plate("data", n):
            return in_turn(self, n).draw()


class VAE(LatentVariableModel):
    """The model p(x, z) = p(z) p(x | decoder(z)) of one latent; calling it with a batch x is the Pyro model.

    Args:
        decoder: any module ``z (..., Z) -> features (..., *features_shape)``.
        prior: p(z).
        likelihood: p(x | features).

    Attributes:
        latent_dim: size Z of the latent.

    Raises:
        InputError: As for :class:`LatentVariableModel`, or if the prior's support is not all of R^Z.

    References:
        Auto-Encoding Variational Bayes (Kingma, Welling, 2014).

    Example:
        >>> import pyro_vaes as pv
        >>> decoder = pv.networks.MLPDecoder(2, (1, 8, 8), hidden=(16,))
        >>> vae = VAE(decoder, pv.priors.StandardNormal(2), pv.likelihoods.Gaussian())
        >>> vae.sample(3).shape, vae.log_joint(torch.zeros(3, 1, 8, 8), torch.zeros(5, 3, 2)).shape
        (torch.Size([3, 1, 8, 8]), torch.Size([5, 3]))
    """

    def __init__(self, decoder: nn.Module, prior: Prior, likelihood: Likelihood) -> None:
        super().__init__(decoder, likelihood, [prior.latent_dim])
        prior.probe()
        self.prior, self.latent_dim = prior, prior.latent_dim

    @property
    def priors(self) -> Mapping[str, Prior]:  # type: ignore[override]
        """The prior, by site."""
        return {"z": self.prior}

    def draw(self) -> list[Tensor]:
        """Site ``z``."""
        return [pyro.sample("z", self.prior())]

    def features(self, *z: Tensor) -> Tensor:
        """Decoder(z)."""
        return self.decoder(*z)

    def log_prior(self, *z: Tensor) -> Tensor:
        """Log p(z)."""
        return self.prior().log_prob(*z)


class Guide(TakesGiven):
    """Base class of guides q(z | x); calling one with a batch x is the Pyro guide.

    A guide of one latent implements :meth:`posterior`, or :meth:`family`, of which that is made; one of several
    independent latents implements :meth:`posteriors`; one whose latents depend on each other derives from
    :class:`~pyro_vaes.models.sequential_guide.SequentialGuide`.

    Args:
        vae: the model; not registered here, its parameters stay its own.
        encoder: any module ``x (..., *event_shape) -> (..., out_features)``; None if the guide holds others.
        outputs: size of the head, which the encoder's ``make_head(outputs)`` or ``initialize_head(head)`` may set up.

    Attributes:
        head: the layer, linear or the encoder's own, from the encoder's features to the family's parameters.
        analytic_kl: whether losses take KL(q ‖ p) in closed form if one is registered. A guide whose posterior follows
            the model's says no: there the noise of log q cancels that of log p(x, z).
        loss: the loss that trains this guide unless another is given: a name in ``pyro_vaes.losses``, or a class of
            losses, such as one of your own; a method that returns one may set its options.
        warmup: number of gradient steps at the start of a training in which the posterior is a simpler one, 0 for none;
            ``fit`` makes it at most two fifths of a training.
        restarts: whether the optimizer's moments start again after it, as for a posterior that changes at once.
        progress: the part of the warm-up that is over, in [0, 1]; the posterior may depend on it. ``fit`` sets it for
            the time of a gradient step. It is 1 elsewhere, so in validation and in stock ``SVI``, without a warm-up.
        is_mean_field: whether q(z | x) = N(μ, diag σ²), both outputs of the head, so that other guides can start there.

    Shapes:
        ``x (B, *event_shape)``; calling it gives each latent by site, ``(B, Z_l)``.

    Raises:
        InputError: If the encoder does not take the model's data, or gives another number of features than it says.
    """

    vae: Any
    analytic_kl: bool = True
    loss: str | Callable[[], Any] = "ELBO"
    warmup: int = 0
    restarts: bool = True
    progress: float = 1.0
    is_mean_field: bool = False

    def __init__(self, vae: LatentVariableModel, encoder: nn.Module | None = None, outputs: int | None = None) -> None:
        super().__init__()
        self.__dict__["vae"] = vae  # past nn.Module, which would register the model's parameters here too
        if encoder is not None:
            self.encoder = vae.adapt_encoder(encoder)
            check_encoder(bind(self.encoder, vae.example_given()), vae.event_shape, has_head=outputs is not None)
            if outputs is not None:
                self.head: Any = head_on(self.encoder, outputs, sum(vae.latent_dims))
        like = next(self.parameters(), torch.empty(0)).new_empty(vae.event_shape)
        for site, prior in vae.priors.items():
            prior.probe()
            prior.bind_posterior(partial(self._posterior_of, site), like)

    def encode(self, x: Tensor) -> Any:
        """The encoder's features of x, in the form that the model's likelihood gives x to encoders."""
        return self.encoder(self.vae.likelihood.filled_encoder_input(x))

    def local_parameters(self, x: Tensor) -> tuple[Tensor, ...]:
        """The parameters of each datum's q(z | x), ``(..., B, ·)`` each; here the outputs of the head."""
        return (self.head(self.encode(x)),)

    def family(self, parameters: tuple[Tensor, ...], x: Tensor) -> dist.TorchDistribution:
        """The member of the guide's family with these :meth:`local_parameters` at x."""
        raise NotImplementedError(f"{type(self).__name__} must implement family(parameters, x) or posterior(x)")

    def posterior(self, x: Tensor) -> dist.TorchDistribution:
        """q(z | x), batch shape ``(..., B)`` and event shape ``(Z,)``."""
        return self.family(self.local_parameters(x), x)

    def posteriors(self, x: Tensor) -> Posteriors:
        """q(z_l | x) by site, batch shape ``(..., B)`` and event shape ``(Z_l,)``, the lowest latent first."""
        return {"z": self.posterior(x)}

    def clusters(self, x: Tensor) -> dict[str, Tensor]:
        """q(y | x) of each clustered latent by the name of the cluster's site, ``(B, K)``; here none."""
        return {}

    def fit_clusters(self, x: Tensor, clusters: Mapping[str, Tensor]) -> None:
        """Set q(y | x) to clusters ``(N,)`` that the codes fell into, by the latent's site; here there is none."""

    def start_from(self, mean_field: Guide) -> None:
        """Set the weights so that q(z | x) is that of a trained mean-field guide, or as near as the family comes.

        Copies the encoder, and the head's first outputs, which are μ and, if there are any, σ; its others are set to 0.
        A guide of which this does not make the mean-field posterior sets the rest itself.

        Args:
            mean_field: a :class:`~pyro_vaes.guides.MeanField` guide of the same model, or one with the same weights.

        Raises:
            InputError: If it is another guide or of other sizes, or if this guide cannot start from one.
        """
        if type(self).family is Guide.family or not hasattr(self, "head"):
            raise InputError(f"a {type(self).__name__} cannot start from a mean-field guide: leave the start out")
        if not (isinstance(mean_field, Guide) and mean_field.is_mean_field):
            raise InputError(f"the start is a {type(mean_field).__name__}: give a trained MeanField guide")
        check_sizes(mean_field.vae, self.vae)
        copy_weights(mean_field.encoder, self.encoder, "encoder")
        copy_rows(mean_field.head, self.head)
        self.warmup = 0  # which mean-field training stands for

    def with_local_parameters(self, parameters: tuple[Tensor, ...]) -> Self:
        """This guide with given local parameters in place of the encoder's; the copy shares all weights.

        Example:
            >>> guide.with_local_parameters(guide.local_parameters(x)).posterior(x).mean.shape
            torch.Size([4, 2])
        """
        member = copy.copy(self)
        member.__dict__["local_parameters"] = lambda x: parameters
        return member

    def forward(self, x: Tensor, y: Tensor | None = None, mask: Tensor | None = None) -> dict[str, Tensor]:
        """The Pyro guide: the latents' sites in the plate ``data``, given y and x where it was seen; returns them."""
        with batch_plate(self, self.vae, x, y, mask) as (guide, x):
            return {site: pyro.sample(site, q) for site, q in guide.posteriors(x).items()}

    def _posterior_of(self, site: str, x: Tensor) -> dist.TorchDistribution:
        return self.posteriors(x)[site]
