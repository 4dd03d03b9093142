"""Intervals over data and seeds against closed forms, scipy's tests and simulated coverage; ranks."""

import math

import pytest
import torch
from scipy import stats

from pyro_vaes.errors import InputError
from pyro_vaes.evaluate.differences import MeanInterval, difference, mean_interval, rank_ranges


def crossed(seeds, data, scales):
    """Values of crossed random effects of mean 0, with standard deviations of seed, datum and rest."""
    seed, datum, rest = scales
    return seed * torch.randn(seeds, 1) + datum * torch.randn(data) + rest * torch.randn(seeds, data)


# --- closed forms -------------------------------------------------------------------------------------------


def test_mean_squares_of_a_small_table():
    """By hand: MS_seed = 37.5, MS_datum = 8, MS_rest = 2."""
    found = mean_interval(torch.tensor([[0.0, 1.0, 2.0], [3.0, 6.0, 9.0]]))
    freedom = 43.5**2 / (37.5**2 + 8**2 / 2 + 2**2 / 2)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(43.5 / 6)
    expected = MeanInterval(3.5, 3.5 - half, 3.5 + half, freedom, 2)
    assert vars(found) == pytest.approx(vars(expected))


def test_seeds_alone_give_the_t_interval_over_seeds():
    """Values that do not depend on the datum: the variance of the seeds' means, with R - 1 degrees of freedom."""
    means = torch.tensor([1.0, 2.0, 4.0, 9.0]).double()
    found = mean_interval(means.unsqueeze(1).expand(4, 20))
    low, high = stats.t.interval(0.95, 3, means.mean().item(), stats.sem(means))
    assert (found.low, found.high, found.degrees_of_freedom) == pytest.approx((low, high, 3))


def test_data_alone_give_the_t_interval_over_data():
    """Values that do not depend on the seed: as one seed."""
    values = torch.randn(1, 30)
    one, several = mean_interval(values), mean_interval(values.expand(5, 30))
    assert (several.low, several.high) == pytest.approx((one.low, one.high))
    assert several.degrees_of_freedom == pytest.approx(one.degrees_of_freedom) == 29
    assert (several.covers_seeds, one.covers_seeds) == (True, False)


def test_with_one_seed_it_is_the_paired_t_test_of_scipy():
    values, others = torch.randn(1, 40).double() + 0.3, torch.randn(1, 40).double()
    expected = stats.ttest_rel(values[0], others[0])
    interval = expected.confidence_interval(0.95)
    found = difference(values, others)
    assert (found.low, found.high, found.degrees_of_freedom) == pytest.approx((*interval, expected.df))
    assert found.holds_zero == (expected.pvalue > 0.05)


def test_degrees_of_freedom_are_never_fewer_than_those_of_seeds_or_data():
    """Interaction alone: the mean squares are alike, their difference has hardly a degree of freedom left."""
    for _ in range(50):
        assert mean_interval(crossed(4, 3, (0, 0, 1))).degrees_of_freedom >= 2
    constant = mean_interval(torch.full((3, 5), 2.0))
    assert (constant.low, constant.mean, constant.high, constant.degrees_of_freedom) == (2, 2, 2, 2)


def test_variance_components_below_zero_count_as_zero():
    """Seeds that agree more than the rest allows: no shorter than without any effect of the seed."""
    rest = torch.tensor([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0]])  # all means are 0
    found = mean_interval(rest)
    assert found.high > math.sqrt(rest.square().sum().item() / 2 / 6)


# --- coverage -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scales", [(1, 3, 1), (0.3, 0, 1), (0, 1, 1), (0.5, 2, 2)])
def test_intervals_cover_the_mean(scales):
    """Of 1,000 intervals at least 95 % less three standard errors, 2.1 points, cover it."""
    covered = sum(mean_interval(crossed(5, 50, scales)).holds_zero for _ in range(1000))
    assert covered >= 1000 * 0.95 - 3 * math.sqrt(1000 * 0.95 * 0.05)


def test_data_alone_would_not_cover_seeds():
    """With an effect of the seed, the interval of one seed covers the mean over seeds far too rarely."""
    covered = sum(mean_interval(crossed(1, 50, (1, 1, 1))).holds_zero for _ in range(300))
    assert covered < 300 / 2


# --- words and ranks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(0.5, 1.5, "+1.00 [+0.50, +1.50]"), (-0.5, 2.5, "not distinguishable"), (0.0, 2.0, "not distinguishable")],
)
def test_a_difference_that_may_be_zero_is_no_figure(low, high, words):
    assert MeanInterval(1.0, low, high, 4.0, 5).describe().startswith(words)


def test_ranks_are_ranges_where_differences_are_not_distinguishable():
    noise = torch.randn(5, 40)
    values = {"low": noise, "high": noise + 3, "same": noise + 0.1 * torch.randn(5, 1), "middle": noise + 1}
    assert rank_ranges(values) == {"low": "3–4", "high": "1", "same": "3–4", "middle": "2"}
    assert rank_ranges({"alone": noise}) == {"alone": "1"}


def test_ranks_need_not_be_transitive():
    """The first is above the third, and neither is distinguishable from the second."""
    data = torch.linspace(-1, 1, 20)
    spread = torch.stack([data, -data])
    found = rank_ranges({"a": torch.full((2, 20), 0.2) + 0.01 * data, "b": 3 * spread, "c": torch.zeros(2, 20)})
    assert found == {"a": "1–2", "b": "1–3", "c": "2–3"}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (torch.zeros(5), r"shape \(5,\)"),
        (torch.zeros(0, 5), r"shape \(0, 5\)"),
        (torch.zeros(3, 1), "two data or more"),
        (torch.tensor([[0.0, torch.inf]]), "not finite"),
    ],
)
def test_values_without_an_interval_are_refused(values, words):
    with pytest.raises(InputError, match=words):
        mean_interval(values)


def test_values_that_are_no_pairs_are_refused():
    with pytest.raises(InputError, match="the same seeds and data of both"):
        difference(torch.zeros(2, 5), torch.zeros(1, 5))
