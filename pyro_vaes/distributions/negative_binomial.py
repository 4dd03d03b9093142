"""The negative binomial distribution by its mean and dispersion."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.nn import functional as F

from pyro_vaes.distributions.base import BatchedDistribution

STIRLING = 16.0  # from which on four terms of Stirling's series give log Γ to 1e-13
MAX_CONCENTRATION = 1e12  # of the gamma distribution in draws, beyond which it is a point


class NegativeBinomial(BatchedDistribution):
    """Counts of mean μ and variance μ + α μ²; the Poisson distribution of rate μ as the dispersion α tends to 0.

    With r = 1 / α::

        p(x) = Γ(x + r) / (Γ(r) x!) · (r / (r + μ))ʳ · (μ / (r + μ))ˣ

    Torch's distribution of this name takes r and log(μ / r), and loses log p(x) to cancellation where r is large.

    Args:
        log_mean: log μ.
        log_dispersion: log α.
        validate_args: whether torch checks the arguments.

    Shapes:
        ``log_mean`` and ``log_dispersion`` broadcast to the batch shape; the event shape is ``()``.

    References:
        Negative Binomial Regression (Hilbe, 2011), for this parametrization, called NB2.

    Example:
        >>> p = NegativeBinomial(torch.zeros(3), torch.tensor(0.0))
        >>> p.log_prob(torch.tensor([0.0, 1.0, 2.0])).exp()
        tensor([0.5000, 0.2500, 0.1250])
    """

    arg_constraints = {"log_mean": constraints.real, "log_dispersion": constraints.real}  # noqa: RUF012  (torch's form)
    support = constraints.nonnegative_integer

    def __init__(self, log_mean: Tensor, log_dispersion: Tensor, validate_args: bool | None = None) -> None:
        self.log_mean, self.log_dispersion = torch.broadcast_tensors(log_mean, log_dispersion)
        super().__init__(self.log_mean.shape, torch.Size(), validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """μ."""
        return self.log_mean.exp()

    @property
    def variance(self) -> Tensor:
        """μ + α μ²."""
        return self.mean + (2 * self.log_mean + self.log_dispersion).exp()

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Draws: Poisson counts whose rates are gamma variables of mean μ and shape 1 / α."""
        concentration = (-self.log_dispersion).exp().clamp_max(MAX_CONCENTRATION)
        gamma = torch.distributions.Gamma(concentration, concentration / self.mean, validate_args=False)
        return torch.poisson(gamma.sample(torch.Size(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability in nats."""
        if self._validate_args:
            self._validate_sample(value)
        odds = F.softplus(self.log_mean + self.log_dispersion)  # log(1 + μ / r)
        size = (-self.log_dispersion).exp()
        return _log_rising_factorial(value, size) - (value + 1).lgamma() + value * (self.log_mean - odds) - size * odds


def _log_rising_factorial(x: Tensor, r: Tensor) -> Tensor:
    """log Γ(x + r) - log Γ(r) - x log r, without cancellation where r is large."""
    small, large = r.clamp_max(STIRLING), r.clamp_min(STIRLING)
    exact = (x + small).lgamma() - small.lgamma() - x * small.log()
    series = (x + large - 0.5) * (x / large).log1p() - x + _stirling(x + large) - _stirling(large)
    return torch.where(r < STIRLING, exact, series)


def _stirling(r: Tensor) -> Tensor:
    """The series log Γ(r) - (r - 1/2) log r + r - log(2π) / 2, to 1 / r⁷."""
    square = r.square().reciprocal()
    return (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square / 1680))) / r
