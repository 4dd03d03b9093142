"""Log-densities as sums over coordinates."""

from __future__ import annotations

from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Independent, Transform, TransformedDistribution

from pyro_vaes.distributions.autoregressive_transform import AutoregressiveTransform


def coordinate_log_prob(p: TorchDistribution, z: Tensor) -> Tensor | None:
    """The terms of log p(z) per coordinate, whose sum it is; None where it has none.

    Of independent coordinates they are log p(z_k). Of an autoregressive flow of independent noise ε, in either
    direction, they are::

        log p(ε_k) + log |∂ε_k / ∂z_k|

    since the Jacobian is triangular. Of one transform that is log p(z_k | coordinates before k); of several whose order
    is reversed in between, only the sum is a density.

    Args:
        p: a distribution over vectors.
        z: the points.

    Shapes:
        ``z (..., Z)`` to ``(..., Z)``.

    Example:
        >>> from pyro_vaes.priors import AutoregressiveFlow
        >>> p, z = AutoregressiveFlow(3, flows=2)(), torch.randn(5, 3)
        >>> torch.allclose(coordinate_log_prob(p, z).sum(-1), p.log_prob(z), atol=1e-5)
        True
    """
    if isinstance(p, Independent) and p.reinterpreted_batch_ndims == 1:
        return p.base_dist.log_prob(z)
    if not isinstance(p, TransformedDistribution):
        return None
    slopes = z.new_zeros(())
    for transform in reversed(p.transforms):
        before = transform.inv(z)
        if (of_transform := _log_slopes(transform, before, z)) is None:
            return None
        slopes, z = slopes + of_transform, before
    base = coordinate_log_prob(p.base_dist, z)
    return None if base is None else base - slopes


def _log_slopes(transform: Transform, x: Tensor, y: Tensor) -> Tensor | None:
    """log |∂y_k / ∂x_k| of an autoregressive transform or its inverse."""
    if isinstance(transform, AutoregressiveTransform):
        return transform.log_slopes(x)
    if isinstance(transform.inv, AutoregressiveTransform):
        return -transform.inv.log_slopes(y)
    return None
