"""Guides and data whose gaps cannot be found are refused."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.nn import PyroModule, PyroParam
from torch import nn

from pyro_vaes.errors import InputError
from pyro_vaes.evaluate.gaps import inference_gaps
from pyro_vaes.evaluate.log_likelihood import LogLikelihood
from pyro_vaes.evaluate.marginal.estimate import MarginalLogLikelihood
from pyro_vaes.guides import Laplace, MeanField
from tests.helpers.vectors import small

# --- what is refused ----------------------------------------------------------------------------------------


class Stored(PyroModule):
    """Its values live in Pyro's store, where a copy's do not count."""

    def __init__(self):
        super().__init__()
        self.loc = PyroParam(torch.zeros(2))

    def forward(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.loc, 1.0).to_event(1))


class Headless(MeanField):
    def posterior(self, x):
        return dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(1)


def plain(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))


def test_guides_that_cannot_be_fitted_are_refused():
    vae, guide, x = small()
    used = Stored()
    used(x)
    for other, words in [
        (plain, "the guide is a function"),
        (nn.Identity(), "no parameters of its own"),
        (used, "no gradient of the ELBO reaches"),
        (Laplace(vae, guide.encoder, detach=True), "set guide.detach = False"),
        (Headless(vae, guide.encoder), "no gradient of the ELBO reaches the outputs of Headless at x"),
    ]:
        with pytest.raises(InputError, match=words):
            inference_gaps(vae, other, x)


OTHERS = MarginalLogLikelihood(*[torch.zeros(3)] * 4, ("importance sampling",) * 3, 100)
GUIDES_OWN = LogLikelihood(*[torch.zeros(4)] * 3, 100)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_samples": 0}, "num_samples is 0"),
        ({"num_steps": 0}, "num_steps is 0"),
        ({"x": torch.ones(0, 6)}, "x holds no data"),
        ({"x": torch.full((3, 6), 0.5)}, "Bernoulli needs binary data"),
        ({"x": torch.ones(3, 6, dtype=torch.uint8)}, "x is uint8"),
        ({"log_likelihood": OTHERS}, "log_likelihood holds 3 estimates for 4 observations"),
        ({"log_likelihood": GUIDES_OWN}, r"log_likelihood is a LogLikelihood: expected what marginal_log_likelihood"),
    ],
    ids=["samples", "steps", "no data", "gray", "uint8", "other data", "guide's own bound"],
)
def test_bad_input_is_refused(options, words):
    vae, guide, x = small()
    with pytest.raises(InputError, match=words):
        inference_gaps(vae, guide, **{"x": x, **options})
