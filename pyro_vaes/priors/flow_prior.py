"""The prior of any normalizing flow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import ComposeTransform, Transform

from pyro_vaes.distributions.zuko_distribution import ZukoDistribution
from pyro_vaes.errors import InputError
from pyro_vaes.networks.evaluation_mode import evaluation_mode
from pyro_vaes.networks.probe import reference_weight
from pyro_vaes.priors.base import Prior
from pyro_vaes.priors.standard_normal import StandardNormal


class FlowPrior(Prior):
    """Flow prior of any bijections of Pyro or torch, z = T_K ∘ … ∘ T₁(ε) with ε ~ p(ε), or a flow of zuko.

    With T = T_K ∘ … ∘ T₁ the density is exact::

        log p(z) = log p(ε) - log |∂T/∂ε|,    ε = T⁻¹(z)

    The transforms lie between noise and latent as in ``TransformedDistribution``. The guide's z is never a draw of
    this prior, so that T⁻¹ is computed for each: take the ``.inv`` of autoregressive transforms, whose density is then
    one pass, and a draw Z passes. Modules that transforms hold are registered, and moved and saved with the prior.
    Plain tensors of a transform, such as the order of ``permute``, are constants that are not saved: give them, since
    a random order is another one when the prior is built again.

    Args:
        latent_dim: size Z of the latent.
        transforms: a transform, a list of them, or a module that gives a distribution when it is called, such as
            ``zuko.flows.NSF(latent_dim)``.
        base: p(ε), a prior of the same size; N(0, I) by default. A flow of zuko has its own.

    Attributes:
        transforms: T₁ … T_K, compositions taken apart; none of a flow of zuko.

    Shapes:
        A distribution with batch shape ``()`` and event shape ``(Z,)``.

    Raises:
        InputError: If a transform is none, has no inverse or no density in closed form, or is of another size than the
            latent; if the support of p(z) is not R^Z; or if a base is given to a flow of zuko.

    References:
        Variational Inference with Normalizing Flows (Rezende, Mohamed, 2015);
        Variational Lossy Autoencoder (Chen et al., 2017), for flows as priors.

    Example:
        >>> from pyro.distributions.transforms import affine_autoregressive, spline_coupling
        >>> prior = FlowPrior(3, [spline_coupling(3), affine_autoregressive(3).inv])
        >>> z = prior().sample((5,))
        >>> z.shape, prior().log_prob(z).shape
        (torch.Size([5, 3]), torch.Size([5]))
    """

    def __init__(
        self,
        latent_dim: int,
        transforms: Transform | Sequence[Transform] | Callable[[], Any],
        base: Prior | None = None,
    ) -> None:
        super().__init__(latent_dim)
        self.flow: Callable[[], Any] | None = None
        if isinstance(transforms, nn.Module) and not isinstance(transforms, Transform):
            self.flow, transforms = transforms, []
            if base is not None:
                raise InputError(
                    f"the flow {type(self.flow).__name__} has a base distribution of its own: leave base out"
                )
        # A copy of an inverse loses what it inverts, see `Transform.__getstate__`: hence the two apart.
        self._parts = [(each.inv, True) if _is_inverse(each) else (each, False) for each in _flat(transforms)]
        self.networks = nn.ModuleList(_modules([each for each, _ in self._parts], set()))
        self.base: Prior = base or StandardNormal(latent_dim).to(reference_weight(self))
        self.probe()

    @property
    def transforms(self) -> list[Transform]:
        """T₁ … T_K."""
        return [each.inv if inverted else each for each, inverted in self._parts]

    def forward(self) -> dist.TorchDistribution:
        """The distribution of T(ε)."""
        if self.flow is not None:
            return ZukoDistribution(self.flow())
        self._clear_caches()
        return dist.TransformedDistribution(self.base(), self.transforms)

    def initialize(self, x: Tensor) -> None:
        """Data-dependent initialization of p(ε)."""
        self.base.initialize(x)

    def probe(self) -> None:
        """Check that p(z) is one event of the latent's size, supported on all of R^Z, whose density is known.

        Raises:
            InputError: If it is not; says what was found.
        """
        names = [type(each).__name__ for each in (self.transforms if self.flow is None else [self.flow])]
        with torch.no_grad(), torch.random.fork_rng([]), evaluation_mode(self), pyro.validation_enabled(False):
            try:
                p = self()
                p.log_prob(p.sample((16,)).clone())  # a tensor that no cache knows, as the guide's z
            except InputError:
                raise
            except Exception as error:  # of transforms that others wrote
                raise InputError(
                    f"the transforms {', '.join(names)} give no density of {self.latent_dim} latent dimensions "
                    f"({type(error).__name__}: {error}): each must take vectors of this size, and have an inverse in "
                    "closed form, as spline, coupling and affine autoregressive transforms do"
                ) from error
        super().probe()

    def __getstate__(self) -> Any:
        self._clear_caches()  # torch copies no tensors that have a history
        return super().__getstate__()

    def _clear_caches(self) -> None:
        """Have transforms forget their last values, which do not follow their weights."""
        for each in [*(part for part, _ in self._parts), *self.networks.modules()]:
            if isinstance(each, Transform):
                for name in vars(each).keys() - {"_cache_size"}:
                    if name.startswith("_cache"):
                        setattr(each, name, (None, None) if name == "_cached_x_y" else None)


def _flat(transforms: Any) -> Iterator[Transform]:
    """The transforms of a list, with compositions taken apart."""
    for each in transforms if isinstance(transforms, (list, tuple)) else [transforms]:
        if not isinstance(each, Transform):
            raise InputError(
                f"transforms holds a {type(each).__name__}: expected transforms of pyro.distributions.transforms or "
                "torch.distributions, or a flow of zuko, such as transforms=[spline_coupling(latent_dim)]"
            )
        if isinstance(each, ComposeTransform):
            yield from _flat(list(each.parts))
        else:
            yield each


def _is_inverse(transform: Transform) -> bool:
    """Whether a transform is the ``.inv`` of another, which torch has no public way to tell."""
    return type(transform).__name__ == "_InverseTransform"


def _modules(part: Any, seen: set[int]) -> Iterator[nn.Module]:
    """The modules among a transform and what it holds, each once."""
    if id(part) in seen:
        return
    seen.add(id(part))
    if isinstance(part, nn.Module):
        yield part
    elif isinstance(part, (Transform, list, tuple)):
        for each in vars(part).values() if isinstance(part, Transform) else part:
            yield from _modules(each, seen)
