"""Guides that start from a trained mean-field guide: the same posterior, and what is refused."""

import pytest
import torch
from torch import nn

import pyro_vaes as pv
from pyro_vaes.guides import (
    FullCovariance,
    Householder,
    InverseAutoregressiveFlow,
    Laplace,
    LowRank,
    MeanField,
    SemiAmortized,
)
from pyro_vaes.networks.copy_weights import copy_weights
from tests.helpers.linear_gaussian import LinearGaussian, optimal_mean_field
from tests.helpers.mixture_guides import MIXTURES

SHAPE, SIZE = (1, 3, 2), 4
EXACT = {
    "MeanField": MeanField,
    "FullCovariance": FullCovariance,
    "LowRank": lambda *pair: LowRank(*pair, rank=2),
    "SemiAmortized-0": lambda *pair: SemiAmortized(*pair, steps=0),
    "InverseAutoregressiveFlow-1": lambda *pair: InverseAutoregressiveFlow(*pair, flows=1, hidden=(8,)),
    "InverseAutoregressiveFlow-2": lambda *pair: InverseAutoregressiveFlow(*pair, flows=2, hidden=(8, 8)),
    **{f"Householder-{flows}": lambda *pair, k=flows: Householder(*pair, flows=k) for flows in (1, 2, 3, 4)},
}


def build(guide, latent=SIZE, shape=SHAPE, hidden=(8,), likelihood=None, **encoder):
    """A pair in float64 whose weights are far from the first ones."""
    decoder = pv.networks.MLPDecoder(latent, shape, hidden)
    vae = pv.VAE(decoder, pv.priors.StandardNormal(latent), likelihood or pv.likelihoods.Gaussian(0.5))
    made = guide(vae.double(), pv.networks.MLPEncoder(shape, hidden, **encoder)).double()
    with torch.no_grad():
        for weight in made.parameters():
            weight.copy_(torch.randn_like(weight) / max(1, weight.shape[-1]) ** 0.5)
    return vae, made


@pytest.mark.parametrize("guide", EXACT)
def test_the_posterior_is_the_mean_field_one(guide):
    (_, mean_field), (_, made) = build(MeanField), build(EXACT[guide])
    made.start_from(mean_field)
    x, z = torch.randn(5, *SHAPE).double(), torch.randn(7, 5, SIZE).double()
    expected = mean_field.posterior(x)
    found = made.posterior(x).expand((7, 5))
    torch.testing.assert_close(found.log_prob(z), expected.log_prob(z), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("guide", [SemiAmortized, Laplace])
def test_a_refining_guide_starts_its_search_at_the_mean_field_posterior(guide):
    (_, mean_field), (_, made) = build(MeanField), build(guide)
    made.start_from(mean_field)
    x = torch.randn(5, *SHAPE).double()
    assert torch.equal(made.head(made.encode(x)), mean_field.local_parameters(x)[0])
    assert made.warmup == 0


@pytest.mark.parametrize("guide", [each for each in EXACT if each not in ("MeanField", "SemiAmortized-0")])
def test_what_the_mean_field_guide_lacks_is_trained_from_there(guide):
    (_, mean_field), (vae, made) = build(MeanField), build(EXACT[guide])
    made.start_from(mean_field)
    before, x = made.posterior(torch.ones(1, *SHAPE).double()), torch.randn(16, *SHAPE).double()
    optimizer = torch.optim.Adam([*made.parameters()], lr=1e-2)
    for _ in range(5):
        optimizer.zero_grad()
        pv.losses.ELBO().differentiable_loss(vae, made, x).backward()
        assert all(weight.grad.isfinite().all() for weight in made.parameters())
        optimizer.step()
    z = torch.randn(100, 1, SIZE).double()
    density = made.posterior(torch.ones(1, *SHAPE).double()).expand((100, 1)).log_prob(z)
    basis = torch.cat([z.square()[:, 0], z[:, 0], torch.ones(100, 1).double()], 1)  # spans mean-field log-densities
    fitted = basis @ torch.linalg.lstsq(basis, density).solution
    assert (density - fitted).abs().max() > 1e-4, "it remained a mean-field posterior"
    assert not torch.allclose(density, before.expand((100, 1)).log_prob(z))


@pytest.mark.parametrize("flows", [2, 3])
def test_the_reflections_that_cancel_depend_on_x(flows):
    (_, mean_field), (_, made) = build(MeanField), build(EXACT[f"Householder-{flows}"])
    made.start_from(mean_field)
    vectors = made.posterior(torch.randn(2, *SHAPE).double()).vectors
    assert torch.equal(vectors[:, 0], vectors[:, 1])
    assert (vectors[0, 0] != vectors[1, 0]).all()


@pytest.mark.parametrize("guide", MIXTURES)
def test_a_mixture_starts_at_the_bound_of_the_mean_field_guide(guide):
    """On the linear-Gaussian model, whose best mean-field bound is known: within a thousandth of its gap."""
    linear = LinearGaussian()
    made = guide(linear.vae, linear.encoder, components=3).double()
    with torch.no_grad():
        for gate in made.gates.parameters():
            gate.normal_()
    made.start_from(optimal_mean_field(linear))
    q = made.posterior(linear.x)
    torch.testing.assert_close(q.logits.exp(), torch.full_like(q.logits, 1 / 3))
    assert torch.equal(q.locs[:, 0], optimal_mean_field(linear).posterior(linear.x).mean)
    assert (q.locs[:, 1:] != q.locs[:, :1]).all(), "the tie is not broken"
    with torch.no_grad():
        log_weights = pv.evaluate.log_weights(linear.vae, made, linear.x, num_samples=20_000)
        gap = linear.log_evidence - log_weights.mean(0)
    error = log_weights.std(0) / len(log_weights) ** 0.5
    assert ((gap - linear.mean_field_gap).abs() < 4 * error + 0.001 * linear.mean_field_gap).all()


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (lambda: build(FullCovariance), "the start is a FullCovariance: give a trained MeanField guide"),
        (lambda: build(SemiAmortized), "the start is a SemiAmortized"),
        (lambda: (None, nn.Linear(2, 2)), "the start is a Linear"),
        (lambda: build(MeanField, latent=3), "and 3 latent dimensions, this guide's model .* and 4 latent dimensions"),
        (lambda: build(MeanField, shape=(6,)), r"start has data of shape \(6,\) and .* of shape \(1, 3, 2\) and"),
        (lambda: build(MeanField, hidden=(8, 8)), r"Linear\(in_features=8.* where this one has nothing"),
        (lambda: build(MeanField, hidden=(9,)), "out_features=9, bias=True.* where this one has .*out_features=8"),
        (lambda: build(MeanField, activation=nn.Tanh), r"Tanh\(\) where this one has ReLU\(\)"),
    ],
)
def test_other_starts_are_refused(start, words):
    with pytest.raises(pv.InputError, match=words):
        build(LowRank)[1].start_from(start()[1])


def test_a_guide_that_cannot_start_says_so():
    class Own(pv.Guide):
        def posterior(self, x):
            return pv.guides.MeanField.family(self, self.local_parameters(x), x)

    _, own = build(lambda vae, encoder: Own(vae, encoder, outputs=2 * SIZE))
    with pytest.raises(pv.InputError, match="a Own cannot start from a mean-field guide"):
        own.start_from(build(MeanField)[1])


def test_networks_that_print_alike_are_told_apart_by_their_weights():
    class Bare(nn.Module):
        def __init__(self, size):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(size))

    with pytest.raises(pv.InputError, match=r"weight \(2,\) where this one has weight \(3,\)"):
        copy_weights(Bare(2), Bare(3), "encoder")
    target = Bare(2)
    copy_weights(Bare(2), target, "encoder")
    assert torch.equal(target.weight, torch.ones(2))
