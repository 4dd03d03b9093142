"""Mixtures: sums over y against Pyro's enumeration, the plain VAE, closed forms."""

import math

import pyro.distributions as dist
import pytest
import torch
from pyro.infer import TraceEnum_ELBO
from torch import nn

import pyro_vaes as pv
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate import log_weights
from pyro_vaes.guides import MeanField
from pyro_vaes.likelihoods import Gaussian
from pyro_vaes.losses import ELBO
from pyro_vaes.models import (
    LadderMixtureVAE,
    MixtureGuide,
    MixtureVAE,
    TwoEncoderMixtureGuide,
    initialize_from_codes,
)
from pyro_vaes.networks import MLPDecoder, MLPEncoder
from pyro_vaes.networks.ladder import LadderMLPDecoder
from pyro_vaes.priors import GaussianMixture, StandardNormal
from tests.helpers.linear_gaussian import LinearGaussian
from tests.helpers.mixtures import BATCH, PAIRS, SHAPE, K, double, ladder_mixture, mixture, seeded

with_sites = pytest.mark.parametrize("make", [PAIRS[name] for name in PAIRS if name != "ladder"])


@with_sites
@pytest.mark.parametrize("particles", [1, 2])
def test_the_sum_over_y_is_that_of_pyro(make, particles):
    model, guide, x = double(make())
    guide.analytic_kl = False  # Pyro has the draw's log q - log p
    stock = TraceEnum_ELBO(particles, max_plate_nesting=1, vectorize_particles=particles > 1)
    values = [seeded(loss.differentiable_loss, model, guide, x) for loss in (ELBO(particles), stock)]
    torch.testing.assert_close(values[0], values[1].double(), rtol=1e-10, atol=0)
    parameters = [*model.parameters(), *guide.parameters()]
    gradients = [torch.autograd.grad(value, parameters) for value in values]
    torch.testing.assert_close(*gradients, rtol=1e-8, atol=1e-8)


def test_the_sum_over_y_by_hand():
    model, guide, x = double(mixture())
    torch.manual_seed(4)
    probabilities = guide.clusters(x)["y"]
    terms = seeded(ELBO().terms, model, guide, x)
    marginal = guide.posterior(x)
    codes = [dist.Normal(marginal.locs[:, y], marginal.scales[:, y]).to_event(1) for y in range(K)]
    torch.manual_seed(4)
    z = dist.Normal(marginal.locs.movedim(1, 0), marginal.scales.movedim(1, 0)).rsample()
    prior = model.prior
    reconstruction, kl = torch.zeros(BATCH), torch.zeros(BATCH)
    for y in range(K):
        p = dist.Normal(prior.locs[y], prior.log_scales[y].exp()).to_event(1)
        reconstruction = reconstruction + probabilities[:, y] * model.likelihood(model.decoder(z[y])).log_prob(x)
        kl = kl + probabilities[:, y] * torch.distributions.kl_divergence(codes[y], p)
    kl_y = (probabilities * (probabilities.log() - prior.logits.log_softmax(0))).sum(-1)
    expected = {"reconstruction": reconstruction, "kl": kl + kl_y, "kl_y": kl_y, "kl_z": kl}
    torch.testing.assert_close(terms, expected)


@pytest.mark.parametrize("particles", [1, 3])
def test_one_component_is_the_vae(particles):
    model, guide, x, _ = mixture(components=1, likelihood=lambda: Gaussian(0.5))
    with torch.no_grad():
        model.prior.locs.zero_()
        model.prior.log_scales.zero_()
    vae = pv.VAE(model.decoder, StandardNormal(2), model.likelihood)
    hidden = nn.Linear(8, 8)
    with torch.no_grad():
        hidden.weight.copy_(guide.head.hidden.weight)
        hidden.bias.copy_(guide.head.hidden.bias + guide.head.shift.weight[0])
    plain = MeanField(vae, nn.Sequential(guide.encoder, hidden, nn.ReLU()))
    plain.head = guide.head.head
    ours, theirs = (seeded(ELBO(particles).terms, *pair, x) for pair in ((model, guide), (vae, plain)))
    for name in ("reconstruction", "kl"):
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-5, atol=1e-5)
    assert ours["kl_y"].abs().max() < 1e-6
    z = torch.randn(5, BATCH, 2)
    torch.testing.assert_close(model.log_joint(x, z), vae.log_joint(x, z))
    torch.testing.assert_close(guide.posterior(x).log_prob(z), plain.posterior(x).log_prob(z))


def linear_mixture():
    """Clusters under a linear decoder: x is a mixture of normals itself."""
    linear = LinearGaussian(latent_dim=2, event_shape=(5,), scale=1.0)
    model = MixtureVAE(linear.vae.decoder, GaussianMixture(2, K), linear.vae.likelihood).double()
    with torch.no_grad():
        model.prior.locs.mul_(3)
        model.prior.logits.normal_()
    scales = model.prior.log_scales.exp()
    noise = linear.scale**2 * torch.eye(5).double()
    covariances = torch.stack([linear.weight @ (s**2).diag() @ linear.weight.T + noise for s in scales])
    means = model.prior.locs @ linear.weight.T + linear.bias
    density = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=model.prior.logits),
        torch.distributions.MultivariateNormal(means, covariances),
    )
    guide = MixtureGuide(model, MLPEncoder((5,), (16,))).double()
    return model, guide, model.sample(200), density


def test_importance_weights_reach_the_evidence():
    model, guide, x, density = linear_mixture()
    loss, optimizer = ELBO(), torch.optim.Adam(guide.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        loss.differentiable_loss(model, guide, x).backward()
        optimizer.step()
    weights = log_weights(model, guide, x[:10], num_samples=2000)
    estimate = weights.logsumexp(0) - math.log(2000)
    error = (weights - weights.logsumexp(0)).exp().square().sum(0).sqrt()  # of the log, by the effective draws
    expected = density.log_prob(x[:10]).detach()
    assert ((estimate - expected).abs() < 5 * error + 0.02).all()
    assert (weights.mean(0) < expected + 0.1).all()


def test_log_joint_sums_y_out():
    model, _, x, _ = mixture()
    z = torch.randn(BATCH, 2)
    prior = model.prior
    each = [
        prior.logits.log_softmax(0)[y] + dist.Normal(prior.locs[y], prior.log_scales[y].exp()).log_prob(z).sum(-1)
        for y in range(K)
    ]
    expected = torch.stack(each).logsumexp(0) + model.likelihood(model.decoder(z)).log_prob(x)
    torch.testing.assert_close(model.log_joint(x, z), expected)


@pytest.mark.parametrize("make", [mixture, PAIRS["ladder-top"]])
def test_sticking_the_landing_has_the_same_mean(make):
    (model, guide, x), draws = double(make()), 80
    means, errors = [], []
    for sticking in (False, True):
        loss = ELBO(sticking_the_landing=sticking)
        found = torch.stack(
            [
                torch.cat([g.flatten() for g in torch.autograd.grad(value, [*guide.parameters()])])
                for value in (loss.differentiable_loss(model, guide, x) for _ in range(draws))
            ]
        )
        means.append(found.mean(0))
        errors.append(found.var(0) / draws)
    assert ((means[0] - means[1]).abs() <= 6 * (errors[0] + errors[1]).sqrt() + 1e-8).all()


def test_fit_and_clusters_of_digits():
    data = pv.data.load("digits")
    decoder = MLPDecoder(4, data.event_shape, (64,))
    model = MixtureVAE(decoder, GaussianMixture(4, 10), Gaussian())
    guide = MixtureGuide(model, MLPEncoder(data.event_shape, (64,)))
    run = pv.fit(model, guide, data, epochs=3, progress=False)
    assert run.history[-1]["valid_elbo"] > run.history[0]["valid_elbo"]
    assert {"kl_y", "kl_z"} <= run.history[0].keys()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MixtureVAE(MLPDecoder(2, SHAPE), StandardNormal(2), Gaussian()), "StandardNormal, which has no clu"),
        (lambda: ladder_mixture(["y2"]), r"cluster_sites is \['y2'\]: expected a list of some of \['y1', 'y3'\]"),
        (lambda: ladder_mixture("y3"), "cluster_sites is 'y3': expected a list"),
        (lambda: ladder_mixture([3]), r"cluster_sites is \[3\]: expected a list"),
        (
            lambda: LadderMixtureVAE(LadderMLPDecoder((2,), SHAPE, ((8,),)), [StandardNormal(2)], Gaussian()),
            "no latent has clusters",
        ),
        (lambda: GaussianMixture(2, components=0), "components is 0"),
        (lambda: initialize_from_codes(*mixture(9)[:3]), "there are 9 components, but only 4 .* at most components=4"),
        (lambda: ELBO().terms(mixture().model, ladder_mixture().guide, mixture().x), "latents are"),
    ],
)
def test_bad_input_is_refused(build, message):
    with pytest.raises(InputError, match=message):
        build()


def test_it_starts_at_the_mean_field_posterior_for_every_cluster():
    model, guide, x, _ = mixture()
    vae = pv.VAE(model.decoder, model.prior, model.likelihood)
    trained = MeanField(vae, MLPEncoder(SHAPE, (8,)))
    clusters = guide.clusters(x)["y"]
    guide.start_from(trained)
    expected, found = trained.posterior(x).base_dist, guide.posterior(x)
    for y in range(K):
        torch.testing.assert_close(found.locs[:, y], expected.loc)
        torch.testing.assert_close(found.scales[:, y], expected.scale)
    assert guide.head.logits.weight.requires_grad
    assert not torch.equal(guide.clusters(x)["y"], clusters)  # features are those of the start
    with pytest.raises(InputError, match="start is a MixtureGuide"):
        guide.start_from(guide)


def test_two_encoders_share_nothing():
    model, guide, x, _ = PAIRS["two-encoders"]()
    guide.clusters(x)["y"].square().sum().backward()
    assert all(p.grad is None for p in guide.encoder.parameters())
    assert all(p.grad is not None for p in guide.cluster_encoder.parameters())
    with pytest.raises(InputError, match="the encoder gives features of shape"):
        TwoEncoderMixtureGuide(model, guide.encoder, MLPEncoder((5,), (4,)))
