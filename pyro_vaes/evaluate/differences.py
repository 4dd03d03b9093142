"""Means and differences over data and seeds, with intervals, and the ranks that these allow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from scipy.special import stdtrit
from torch import Tensor

from pyro_vaes.errors import InputError

LEVEL = 0.95  # of the intervals


@dataclass(frozen=True)
class MeanInterval:
    """The mean of some values with its 95 % interval.

    Attributes:
        mean: the mean.
        low: lower end of the interval.
        high: upper end of the interval.
        degrees_of_freedom: of Student's t distribution, from which the interval comes.
        num_seeds: number R of seeds; with one, the interval is over the data alone and does not cover what another
            seed would change.
    """

    mean: float
    low: float
    high: float
    degrees_of_freedom: float
    num_seeds: int

    @property
    def covers_seeds(self) -> bool:
        """Whether the interval covers seeds beside data."""
        return self.num_seeds > 1

    @property
    def holds_zero(self) -> bool:
        """Whether 0 is inside the interval, so that a difference is not distinguishable from none."""
        return self.low <= 0 <= self.high

    def describe(self) -> str:
        """A difference in words, with its interval.

        Example:
            >>> MeanInterval(1.5, 0.5, 2.5, 4.0, 5).describe(), MeanInterval(1.5, -0.5, 3.5, 4.0, 5).describe()
            ('+1.50 [+0.50, +2.50]', 'not distinguishable [-0.50, +3.50]')
        """
        return describe_difference(self.mean, self.low, self.high)


def describe_difference(mean: float, low: float, high: float) -> str:
    """A difference in words, with its interval, which says that it is not distinguishable if it holds 0.

    Example:
        >>> describe_difference(1.5, 0.5, 2.5), describe_difference(1.5, -0.5, 3.5)
        ('+1.50 [+0.50, +2.50]', 'not distinguishable [-0.50, +3.50]')
    """
    return f"{'not distinguishable' if low <= 0 <= high else f'{mean:+.2f}'} [{low:+.2f}, {high:+.2f}]"


def mean_interval(values: Tensor) -> MeanInterval:
    """The mean over R seeds and N data, with its 95 % interval as for new seeds and new data.

    Seeds and data are crossed random effects without replication, x = μ + seed + datum + rest. With the mean squares::

        MS_seed = N Σ_r (x̄_r - x̄)² / (R - 1),     MS_datum = R Σ_n (x̄_n - x̄)² / (N - 1),
        MS_rest = Σ_rn (x_rn - x̄_r - x̄_n + x̄)² / ((R - 1) (N - 1)),
        var(x̄) = (MS_seed + MS_datum - MS_rest) / (R N)

    A mean square of seeds or data below that of the rest, hence a variance component below 0, counts as that of the
    rest. The degrees of freedom are Satterthwaite's::

        ν = (MS_seed + MS_datum - MS_rest)² / (MS_seed² / (R - 1) + MS_datum² / (N - 1) + MS_rest² / ((R - 1) (N - 1)))

    never fewer than the smaller of R - 1 and N - 1, below which the difference of mean squares could lie. With one
    seed, var(x̄) = Σ_n (x_n - x̄)² / (N (N - 1)) and ν = N - 1: the interval is over the data alone. With two seeds it
    covers 90 % where seeds and data vary the mean alike; with five, 95 %.

    Args:
        values: one value per seed and datum, ``(R, N)``.

    Raises:
        InputError: If the values are not ``(R, N)`` with two data or more, or one of them is not finite.

    References:
        An Approximate Distribution of Estimates of Variance Components (Satterthwaite, 1946).

    Example:
        >>> found = mean_interval(torch.tensor([[1.0, 2.0, 3.0]]))
        >>> round(found.low, 3), found.mean, round(found.high, 3), found.degrees_of_freedom, found.covers_seeds
        (-0.484, 2.0, 4.484, 2.0, False)
    """
    if values.dim() != 2 or not len(values) or values.shape[1] < 2:
        raise InputError(f"values have shape {tuple(values.shape)}: expected (seeds, data), of two data or more")
    if not values.isfinite().all():
        raise InputError("a value is not finite, so that no mean over data and seeds exists: leave that contestant out")
    values = values.double()
    seeds, data = values.shape
    mean, by_datum = values.mean(), values.mean(0)
    ms_datum = seeds * (by_datum - mean).square().sum() / (data - 1)
    if seeds == 1:
        variance, freedom = ms_datum / data, torch.tensor(data - 1.0)
    else:
        by_seed = values.mean(1)
        ms_seed = data * (by_seed - mean).square().sum() / (seeds - 1)
        residuals = values - by_seed.unsqueeze(1) - by_datum + mean
        ms_rest = residuals.square().sum() / ((seeds - 1) * (data - 1))
        ms_seed, ms_datum = ms_seed.clamp(min=ms_rest), ms_datum.clamp(min=ms_rest)
        total = ms_seed + ms_datum - ms_rest
        noise = ms_seed**2 / (seeds - 1) + ms_datum**2 / (data - 1) + ms_rest**2 / ((seeds - 1) * (data - 1))
        variance, freedom = total / (seeds * data), (total**2 / noise).nan_to_num().clamp(min=min(seeds, data) - 1)
    half = float(stdtrit(freedom.item(), (1 + LEVEL) / 2)) * math.sqrt(variance.item())
    return MeanInterval(mean.item(), mean.item() - half, mean.item() + half, freedom.item(), seeds)


def difference(values: Tensor, others: Tensor) -> MeanInterval:
    """The mean difference of two contestants, paired over data and seeds, with its 95 % interval.

    Args:
        values: of the one, ``(R, N)``.
        others: of the other, on the same seeds and data.

    Raises:
        InputError: If the shapes differ, or :func:`mean_interval` refuses the differences.

    Example:
        >>> first, second = torch.randn(2, 5, 100)
        >>> difference(first + 1, first).describe(), difference(first, second).describe()
        ('+1.00 [+1.00, +1.00]', 'not distinguishable [-0.13, +0.21]')
    """
    if values.shape != others.shape:
        raise InputError(
            f"the values have shapes {tuple(values.shape)} and {tuple(others.shape)}: to be paired, expected the same "
            "seeds and data of both"
        )
    return mean_interval(values.double() - others.double())


def rank_ranges(values: Mapping[str, Tensor]) -> dict[str, str]:
    """The ranks of contestants that their values allow, the highest mean first: ``1``, or a range such as ``2–4``.

    With n contestants, the best rank of one is 1 + the number of those that are significantly better, the worst is
    n - the number of those that are significantly worse, where the 95 % interval of the difference does not hold 0.
    Each pair is tested for itself, without a correction for their number.

    Args:
        values: one value per seed and datum of each contestant, ``(R, N)``, on the same seeds and data.

    Example:
        >>> noise = torch.randn(5, 100)
        >>> rank_ranges({"a": noise + 2, "b": noise, "c": noise, "d": noise - 1})
        {'a': '1', 'b': '2–3', 'c': '2–3', 'd': '4'}
    """
    ranges = {}
    for name, own in values.items():
        differences = [difference(own, other) for another, other in values.items() if another != name]
        best = 1 + sum(each.high < 0 for each in differences)
        worst = len(values) - sum(each.low > 0 for each in differences)
        ranges[name] = str(best) if best == worst else f"{best}–{worst}"
    return ranges
