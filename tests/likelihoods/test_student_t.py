"""The Student t likelihood: its moments by quadrature, the normal limit, and where its scale comes from."""

import math

import pytest
import torch
from scipy.stats import t

from pyro_vaes.errors import InputError
from pyro_vaes.likelihoods import Gaussian, StudentT
from tests.helpers.likelihoods import assert_exact

FEATURES = torch.linspace(-2, 2, 5).double().unsqueeze(-1)
# x - f = tan θ / 2 takes the line to an interval, on whose midpoints a sum converges fast even for heavy tails.
ANGLES = (torch.arange(200_000).double() + 0.5) / 200_000 * math.pi - math.pi / 2
DEVIATIONS, WEIGHTS = ANGLES.tan() / 2, math.pi / 200_000 / (2 * ANGLES.cos().square())


@pytest.mark.parametrize("df", [4.0, 30.0])
def test_moments_are_exact(df):
    values = DEVIATIONS[:, None] + FEATURES.T
    assert_exact(StudentT(df, scale=0.5).double(), FEATURES, values, WEIGHTS[:, None])


def test_density_equals_scipy_s():
    x = torch.linspace(-9, 9, 50).double()
    ours = StudentT(4.0, scale=0.5).double()(FEATURES).log_prob(x[:, None, None])
    torch.testing.assert_close(ours, torch.from_numpy(t.logpdf(x[:, None], 4, FEATURES.T, 0.5)))


def test_it_tends_to_the_gaussian():
    x = torch.linspace(-3, 3, 7).double()[:, None, None]
    normal, student = Gaussian(0.5).double(), StudentT(1e9, scale=0.5).double()
    torch.testing.assert_close(student(FEATURES).log_prob(x), normal(FEATURES).log_prob(x), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(student.fisher(FEATURES), normal.fisher(FEATURES))


def test_outliers_have_a_bounded_influence():
    score = StudentT(4.0, scale=1.0).score(torch.zeros(2, 1), torch.tensor([[2.0], [1000.0]]))
    assert score[1] < 0.01 < score[0]


def test_its_scale_gives_the_deviation_of_the_data():
    x, likelihood = 3 * torch.randn(1000, 4), StudentT(6.0)
    likelihood.initialize(x)
    variance = likelihood(torch.zeros(1, 4)).variance.mean()
    torch.testing.assert_close(variance, (x - x.mean(0)).square().mean())


@pytest.mark.parametrize("df", [2.0, 0.0, -1.0, math.nan])
def test_without_a_variance_it_is_refused(df):
    with pytest.raises(InputError, match=r"df is .*: expected a number above 2"):
        StudentT(df)
