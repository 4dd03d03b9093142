"""Base class of priors."""

from __future__ import annotations

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_vaes.distributions.support import is_unbounded, support_name
from pyro_vaes.errors import InputError
from pyro_vaes.networks.probe import reference_weight
from pyro_vaes.validation import checked_sizes

MIN_PRECISION = 1e-3  # in directions in which log p(z) has no curvature


class Prior(nn.Module):
    """Base class of priors p(z). A new prior implements :meth:`forward` only.

    Only guides that use the curvature of log p(x, z), such as ``Laplace``, need :meth:`score` and :meth:`precision`,
    which a prior may override in closed form.

    Args:
        latent_dim: size Z of the latent.

    Attributes:
        initialized: whether ``fit`` set what is learned from a look at the data, or weights were loaded: a model that
            is fitted again goes on from what it learned.

    Shapes:
        A distribution with batch shape ``()`` and event shape ``(Z,)``.

    Raises:
        InputError: If the size is not a positive integer.
    """

    initialized: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        checked_sizes(latent_dim=(latent_dim,))
        self.latent_dim = latent_dim
        self.register_buffer("initialized", torch.tensor(False))

    def forward(self) -> dist.TorchDistribution:
        """p(z), with batch shape ``()`` and event shape ``(Z,)``."""
        raise NotImplementedError(f"{type(self).__name__} must implement forward()")

    def probe(self) -> None:
        """Check that p(z) is one event of the latent's size, supported on all of R^Z.

        Raises:
            InputError: If it is not; says what was found.
        """
        with torch.no_grad(), pyro.validation_enabled(False):
            p = self()
        if (tuple(p.batch_shape), tuple(p.event_shape)) != ((), (self.latent_dim,)):
            raise InputError(
                f"the prior {type(self).__name__} has batch shape {tuple(p.batch_shape)} and event shape "
                f"{tuple(p.event_shape)}, expected () and ({self.latent_dim},): declare the latents to be one event "
                "with .to_event(1)"
            )
        like = reference_weight(self)
        if not (like.is_meta or is_unbounded(p.support, like.new_empty(self.latent_dim))):
            raise InputError(
                f"the prior {type(self).__name__} has the support {support_name(p.support)}, but the support must be "
                "R^Z, on which guides are defined: transform it, "
                "TransformedDistribution(prior, transform_to(support).inv), or take a GaussianMixture or a flow"
            )

    def score(self, z: Tensor) -> Tensor:
        """∇ log p(z), shape of z; by default computed by automatic differentiation."""
        return torch.func.grad(lambda value: self().log_prob(value).sum())(z)

    def precision(self, z: Tensor) -> Tensor:
        """A positive definite approximation of H = -∇² log p(z), broadcastable to ``(..., Z, Z)``.

        By default ``|H|``, the Hessian with its eigenvalues replaced by their absolute values, at least
        ``MIN_PRECISION``; it equals H wherever log p is concave, as under a normal prior. Gradients flow through H but
        not through the signs of its eigenvalues, since the gradient of an eigendecomposition can be singular.
        """
        identity = torch.eye(self.latent_dim, dtype=z.dtype, device=z.device)

        pull_back = torch.func.vjp(self.score, z)[1]

        def row(direction: Tensor) -> Tensor:
            return -pull_back(direction.expand_as(z))[0]

        hessian = torch.func.vmap(row)(identity).movedim(0, -2)
        with torch.no_grad():
            values, vectors = torch.linalg.eigh(hessian)
            sign = (vectors * values.sign().unsqueeze(-2)) @ vectors.mT
            lift = (vectors * (MIN_PRECISION - values.abs()).clamp_min(0).unsqueeze(-2)) @ vectors.mT
        return 0.5 * (sign @ hessian + hessian @ sign) + lift

    def bind_posterior(self, posterior: Callable[[Tensor], dist.TorchDistribution], like: Tensor) -> None:
        """Receive q(z | x) from the guide of this prior's model; by default it is not used.

        Args:
            posterior: the function ``x (..., *event_shape) -> q(z | x)``.
            like: any datum ``(*event_shape)``, for its shape, dtype and device.
        """

    def initialize(self, x: Tensor) -> None:
        """Data-dependent initialization; by default none."""
