"""Ladders with clusters: summed out, as sites, or none."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import TraceEnum_ELBO

from pyro_vaes.losses import ELBO
from pyro_vaes.losses.progressive import ProgressiveELBO
from pyro_vaes.models import LadderGuide, LadderMixtureVAE, LadderVAE
from tests.helpers.mixtures import BATCH, K, double, ladder_mixture, seeded


def test_summed_out_and_as_a_site_are_one_elbo():
    """With q(y | x, z) = p(y | z) the enumerated ELBO is that of the mixture's density, draw by draw."""
    model, guide, x = double(ladder_mixture())
    explicit = LadderMixtureVAE(
        model.decoder, list(model.priors.values()), model.likelihood, cluster_sites=["y1", "y3"]
    )

    def enumerated(x):
        with pyro.plate("data", len(x)):
            z = {site: pyro.sample(site, q) for site, q in guide.posteriors(x).items()}
            for y, site in (("y1", "z1"), ("y3", "z3")):
                probabilities = model.priors[site].responsibilities(z[site])
                pyro.sample(y, dist.Categorical(probabilities), infer={"enumerate": "parallel"})

    guide.analytic_kl = enumerated.analytic_kl = False
    expected = seeded(ELBO().objective, model, guide, x)[0]
    torch.testing.assert_close(seeded(ELBO().objective, explicit, enumerated, x)[0], expected)
    stock = seeded(TraceEnum_ELBO(max_plate_nesting=1).loss, explicit, enumerated, x)
    assert -stock == pytest.approx(expected.sum().item(), rel=1e-8)


def test_a_ladder_mixture_without_cluster_sites_is_the_ladder():
    model, guide, x, _ = ladder_mixture()
    ladder = LadderVAE(model.decoder, list(model.priors.values()), model.likelihood)
    plain = LadderGuide(ladder, guide.encoder)
    plain.heads = guide.heads
    torch.testing.assert_close(seeded(ELBO().terms, model, guide, x), seeded(ELBO().terms, ladder, plain, x))


def test_latents_fade_in_with_their_clusters():
    model, guide, x, _ = ladder_mixture(["y1"])
    loss = ProgressiveELBO(steps=10)
    objective, terms = loss.objective(model, guide, x)
    torch.testing.assert_close(objective, terms["reconstruction"] - terms["kl_z3"])


def test_clusters_that_are_summed_out_are_the_mean_responsibilities():
    model, guide, x, _ = ladder_mixture()
    with torch.no_grad():
        guide.heads["z1"].bias[2:] = -20.0  # q(z | x) all but a point
        guide.heads["z1"].weight[2:] = 0.0
    found = guide.clusters(x, num_samples=3)
    assert {name: value.shape for name, value in found.items()} == {"y1": (BATCH, K), "y3": (BATCH, 2)}
    expected = model.priors["z1"].responsibilities(guide.posteriors(x)["z1"].mean)
    torch.testing.assert_close(found["y1"], expected, rtol=0, atol=1e-2)
