"""Pyro's own tools for a model's structure, and its loss that needs it, on every part."""

import warnings
from functools import partial

import pyro
import pyro.infer.inspect
import pytest
import torch
from pyro.distributions.transforms import affine_coupling
from pyro.infer import Trace_ELBO, TraceGraph_ELBO
from pyro.infer.inspect import get_dependencies

from pyro_vaes import guides, likelihoods, priors
from pyro_vaes.testing import pair
from tests.helpers import hierarchies, mixtures

SHAPE = (1, 4, 4)
PIXELS = {"layers": 2, "channels": 4, "window": (3, 2)}
LIKELIHOODS = {
    "Bernoulli": likelihoods.Bernoulli,
    "Gaussian": likelihoods.Gaussian,
    "Gaussian per pixel": lambda: likelihoods.Gaussian(shape=SHAPE),
    "DiscretizedLogistic": lambda: likelihoods.DiscretizedLogistic(17),
    "PixelCNN": lambda: likelihoods.PixelCNN(SHAPE, 1, **PIXELS),
    "PixelCNNPP": lambda: likelihoods.PixelCNNPP(SHAPE, 1, num_bins=3, components=2, blocks=1, channels=4),
    "ResidualPixelCNN": lambda: likelihoods.ResidualPixelCNN(SHAPE, 1, layers=2, channels=4),
    "SkipPixelCNN": lambda: likelihoods.SkipPixelCNN(SHAPE, 1, kernel_sizes=(3, 3, 3), channels=4),
    "Poisson": likelihoods.Poisson,
    "NegativeBinomial": likelihoods.NegativeBinomial,
    "ZeroInflated": lambda: likelihoods.ZeroInflated(SHAPE, likelihoods.Poisson()),
    "StudentT": likelihoods.StudentT,
    "HeteroscedasticGaussian": lambda: likelihoods.HeteroscedasticGaussian(SHAPE),
    "Categorical": lambda: likelihoods.Categorical(SHAPE, num_bins=3),
    "Standardized": lambda: likelihoods.Standardized(SHAPE, likelihoods.Gaussian()),
}
PRIORS = {name: getattr(priors, name) for name in priors.__all__ if name != "Prior"}
PRIORS["FlowPrior"] = lambda size: priors.FlowPrior(size, affine_coupling(size, [8]))
PRIORS["ConvolutionalFlow"] = lambda size: priors.ConvolutionalFlow(size, (size, 1, 1), channels=(4,))
MAKES = {
    **{name: partial(pair, shape=SHAPE, likelihood=each) for name, each in LIKELIHOODS.items()},
    **{name: partial(pair, shape=SHAPE, prior=each) for name, each in PRIORS.items()},
    **{name: partial(pair, getattr(guides, name), likelihoods.Gaussian, shape=SHAPE) for name in guides.__all__},
    **hierarchies.PAIRS,
    **mixtures.PAIRS,
}
every_pair = pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)


def test_no_likelihood_is_left_out():
    assert {*likelihoods.__all__} - {"Likelihood"} <= MAKES.keys()


@every_pair
def test_structure(make, monkeypatch):
    monkeypatch.setattr(pyro.infer.inspect, "render_graph", lambda graph, **options: graph)  # which takes graphviz
    made = make()
    model, guide, x, _ = made
    latents = {*model.sites, *made.cluster_sites()}
    graph = pyro.render_model(model, (x,))
    assert graph["node_data"].keys() == {*latents, "x"}
    assert {parent for parent, child in graph["edge_list"] if child == "x"} >= {model.sites[0]}
    assert get_dependencies(model, (x,))["posterior_dependencies"][model.sites[0]].keys() >= {"x"}
    assert get_dependencies(guide, (x,))["prior_dependencies"].keys() == latents


@every_pair
def test_the_loss_that_follows_dependencies_is_the_plain_one(make):
    made = make()
    model, guide, x, _ = made
    values, gradients = [], []
    for loss in (Trace_ELBO(), TraceGraph_ELBO()):
        torch.manual_seed(0)
        model.zero_grad(), guide.zero_grad()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "(?s).*use TraceEnum_ELBO instead")  # the better one of discrete latents
            values.append(loss.loss_and_grads(model, guide, x))
        gradients.append({name: p.grad.clone() for name, p in made.parameters().items() if p.grad is not None})
    assert values[1] == pytest.approx(values[0], rel=1e-4)
    if not made.cluster_sites():  # their gradients are estimated in another way
        torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-3)
