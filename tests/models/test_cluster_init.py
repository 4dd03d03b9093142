"""Clusters that start from those of the codes."""

import pyro.distributions as dist
import pytest
import torch

from pyro_vaes.likelihoods import Gaussian
from pyro_vaes.models import LadderMixtureGuide, LadderMixtureVAE, initialize_from_codes
from pyro_vaes.networks.ladder import LadderMLPDecoder, LadderMLPEncoder
from pyro_vaes.priors import GaussianMixture, StandardNormal
from tests.helpers.mixtures import SHAPE, mixture


@pytest.mark.parametrize("cluster_sites", [(), ["y1"]])
def test_priors_take_the_clusters_of_the_codes(cluster_sites):
    decoder, priors = LadderMLPDecoder((1, 2), (2,), ((4,), (4,))), [GaussianMixture(1, 2), StandardNormal(2)]
    model = LadderMixtureVAE(decoder, priors, Gaussian(1.0), cluster_sites)
    guide = LadderMixtureGuide(model, LadderMLPEncoder((2,), ((4,), (4,))))

    def posteriors(x):
        return {"z1": dist.Normal(x[:, :1], 0.1).to_event(1), "z2": dist.Normal(x, 1.0).to_event(1)}

    guide.posteriors = posteriors
    x = torch.cat([torch.full((300, 2), -5.0), torch.full((100, 2), 5.0)])
    initialize_from_codes(model, guide, x)
    prior = model.priors["z1"]
    order = prior.locs[:, 0].argsort()
    torch.testing.assert_close(prior.locs[order, 0], torch.tensor([-5.0, 5.0]), rtol=0, atol=0.05)
    torch.testing.assert_close(prior.logits.softmax(0)[order], torch.tensor([0.75, 0.25]), rtol=0, atol=1e-4)
    torch.testing.assert_close(prior.log_scales.exp(), torch.full((2, 1), 0.1), rtol=0, atol=0.03)
    if not cluster_sites:
        clusters = prior.responsibilities(posteriors(x)["z1"].mean)
        assert (clusters.argmax(-1) == order[(x[:, 0] > 0).long()]).all()


def test_explicit_clusters_follow_those_of_the_codes():
    """Two groups of data: q(y | x) tells them apart as their codes do, and q(z | x, y) is alike for every y."""
    torch.manual_seed(0)
    model, guide, *_ = mixture(components=2)
    group = torch.arange(60) % 2
    x = group.view(-1, 1, 1, 1) + 0.05 * torch.rand(60, *SHAPE)
    guide.posteriors = lambda x: {"z": dist.Normal(x.flatten(1)[:, :2], 0.05).to_event(1)}
    initialize_from_codes(model, guide, x)
    order = model.prior.locs[:, 0].argsort()
    assert (guide.clusters(x)["y"].argmax(-1) == order[group]).all()
    codes = guide.posterior(x).locs
    torch.testing.assert_close(codes[:, 0], codes[:, 1])
