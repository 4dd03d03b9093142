"""PrecisionNormal against torch's MultivariateNormal, and the registered KL divergences."""

import pyro.distributions as dist
import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from pyro_vaes.distributions.normal import PrecisionNormal

SIZE = 3
BATCH_SHAPES = [(), (4,), (2, 4)]


def factor(*batch_shape, size=SIZE):
    raw = torch.randn(*batch_shape, size, size).double().tril()
    return raw.tril(-1) + torch.diag_embed(raw.diagonal(dim1=-2, dim2=-1).exp())


def pair(batch_shape=(4,)):
    """The same distribution, ours and torch's."""
    loc, tril = torch.randn(*batch_shape, SIZE).double(), factor(*batch_shape)
    return PrecisionNormal(loc, tril), MultivariateNormal(loc, precision_matrix=tril @ tril.mT)


@pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
@pytest.mark.parametrize("what", ["mean", "mode", "variance", "covariance_matrix", "entropy"])
def test_summaries_equal_torch(batch_shape, what):
    ours, theirs = (getattr(d, what) for d in pair(batch_shape))
    torch.testing.assert_close(*(v() if callable(v) else v for v in (ours, theirs)))


@pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
@pytest.mark.parametrize("sample_shape", [(), (5,), (6, 5)])
def test_log_prob_equals_torch(batch_shape, sample_shape):
    ours, theirs = pair(batch_shape)
    z = ours.rsample(sample_shape)
    assert z.shape == sample_shape + batch_shape + (SIZE,)
    torch.testing.assert_close(ours.log_prob(z), theirs.log_prob(z))


def test_moments_of_samples():
    ours, theirs = pair(())
    draws = 20_000
    white = (ours.sample((draws,)) - theirs.mean) @ torch.linalg.inv(theirs.scale_tril).T
    # of white noise, the means have standard error 1/√S, the covariances at most √2/√S
    assert white.mean(0).abs().max() < 5 / draws**0.5
    assert (white.T @ white / draws - torch.eye(SIZE)).abs().max() < 5 * (2 / draws) ** 0.5


@pytest.mark.parametrize("shared", ["loc", "precision_tril"])
def test_expand_and_broadcast(shared):
    loc, tril = torch.randn(4, SIZE).double(), factor(4)
    loc, tril = (loc[0], tril) if shared == "loc" else (loc, tril[0])
    q = PrecisionNormal(loc, tril)
    wide = q.expand((5, 4))
    assert (q.batch_shape, wide.batch_shape, wide.event_shape) == ((4,), (5, 4), (SIZE,))
    z = wide.rsample()
    assert z.shape == (5, 4, SIZE)
    torch.testing.assert_close(wide.log_prob(z), q.log_prob(z))
    torch.testing.assert_close(wide.entropy()[1], q.entropy())


def test_gradients_of_draws_and_of_their_density():
    loc, raw = torch.randn(2, SIZE).double().requires_grad_(), factor(2).requires_grad_()

    def draw(loc, raw):
        torch.manual_seed(3)
        q = PrecisionNormal(loc, raw.tril())
        z = q.rsample()
        return z, q.log_prob(z), q.entropy()

    assert torch.autograd.gradcheck(draw, (loc, raw))


@pytest.mark.parametrize(
    ("loc", "tril", "words"),
    [(torch.zeros(2), -torch.eye(2), "precision_tril"), (torch.full((2,), torch.nan), torch.eye(2), "loc")],
)
def test_arguments_are_validated(loc, tril, words):
    with pytest.raises(ValueError, match=words):
        PrecisionNormal(loc, tril, validate_args=True)


# --- KL -----------------------------------------------------------------------------------------------------


def independent():
    return dist.Normal(torch.randn(SIZE).double(), torch.rand(SIZE).double() + 0.5).to_event(1)


@pytest.mark.parametrize("which", [0, 1], ids=["PrecisionNormal", "MultivariateNormal"])
def test_kl_equals_that_of_two_multivariate_normals(which):
    q, p = pair()[which], independent()
    dense = MultivariateNormal(p.mean, torch.diag(p.variance))
    theirs = MultivariateNormal(q.mean, q.covariance_matrix)
    torch.testing.assert_close(kl_divergence(q, p), kl_divergence(theirs, dense))
    torch.testing.assert_close(kl_divergence(q, p.expand((5, 4)))[2], kl_divergence(q, p))


@pytest.mark.parametrize("which", [0, 1], ids=["PrecisionNormal", "MultivariateNormal"])
def test_kl_equals_monte_carlo(which):
    q, p, draws = pair()[which], independent(), 10_000
    z = q.sample((draws,))
    difference = q.log_prob(z) - p.log_prob(z)
    standard_error = difference.std(0) / draws**0.5
    assert ((kl_divergence(q, p) - difference.mean(0)).abs() < 5 * standard_error).all()


@pytest.mark.parametrize("which", [0, 1], ids=["PrecisionNormal", "MultivariateNormal"])
@pytest.mark.parametrize(
    "p",
    [dist.Normal(torch.zeros(4, SIZE), 1.0).to_event(2), dist.Laplace(torch.zeros(SIZE), 1.0).to_event(1)],
    ids=["two event dimensions", "no normal"],
)
def test_kl_to_anything_else_is_not_claimed(which, p):
    with pytest.raises(NotImplementedError):
        kl_divergence(pair()[which], p)


@pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
def test_kl_of_an_independent_normal(batch_shape):
    ours, theirs = pair()
    q = dist.Normal(torch.randn(*batch_shape, SIZE).double(), torch.rand(*batch_shape, SIZE).double() + 0.1)
    expected = kl_divergence(MultivariateNormal(q.loc, torch.diag_embed(q.scale.square())), theirs)
    torch.testing.assert_close(kl_divergence(q.to_event(1), ours), expected)
