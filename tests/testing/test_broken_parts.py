"""A part that breaks the contract is told what it breaks."""

import pyro.distributions as dist
import pytest
import torch

from pyro_vaes import testing
from pyro_vaes.guides import MeanField
from pyro_vaes.likelihoods import Bernoulli, Gaussian, Likelihood
from pyro_vaes.losses import ELBO
from pyro_vaes.models import LadderGuide, LadderVAE, MixtureGuide, MixtureVAE
from pyro_vaes.networks import LadderMLPDecoder, LadderMLPEncoder, MLPDecoder, MLPEncoder
from pyro_vaes.priors import GaussianMixture, Prior, StandardNormal
from tests.helpers.own_parts import ScaleMap, TooDense, TooWide, convolutional


class Shifted(StandardNormal):
    """A prior whose density is not that of its draws."""

    def forward(self):
        p = super().forward()
        p.log_prob = lambda z: dist.Normal(0.3, 1.0).to_event(0).log_prob(z).sum(-1)
        return p


class Unnormalized(StandardNormal):
    """A prior whose density has no integral of 1."""

    def forward(self):
        p = super().forward()
        log_prob = p.log_prob
        p.log_prob = lambda z: log_prob(z) + 0.1
        return p


class NoEvent(StandardNormal):
    """A prior that does not declare its event."""

    def forward(self):
        return dist.Normal(self.loc, torch.ones_like(self.loc))


class Borrower(MeanField):
    """A guide that registers the model."""

    def __init__(self, vae, encoder):
        super().__init__(vae, encoder)
        self.decoder = vae.decoder


class Batchwise(MeanField):
    """A guide whose posteriors depend on the batch."""

    def posterior(self, x):
        return super().posterior(x - x.mean(0))


class WrongFisher(Bernoulli):
    """A likelihood whose curvature is off."""

    def fisher(self, features):
        return 1.2 * super().fisher(features)


class WrongScaleMap(ScaleMap):
    """A likelihood whose curvature in log σ is off."""

    def fisher(self, features):
        return super().fisher(features).clamp_min(2.4)


class WrongMean(ScaleMap):
    """A likelihood whose mean has the shape of the features."""

    def mean(self, features):
        return features


class Half(ELBO):
    """A loss that reports one number for the batch."""

    def objective(self, model, guide, x):
        objective, terms = super().objective(model, guide, x)
        return objective, {name: term.mean() for name, term in terms.items()}


class Uncounted(LadderVAE):
    """A model whose density leaves a latent out."""

    def log_prior(self, *z):
        return super().log_prior(z[0], torch.zeros_like(z[1]))


class Undecided(LadderGuide):
    """A guide that gives the posterior of one latent only."""

    def posteriors(self, x):
        return {"z1": super().posteriors(x)["z1"]}


class Unclustered(MixtureGuide):
    """A guide with a discrete latent of which it gives no probabilities."""

    def clusters(self, x):
        return {}


def ladder(model, guide):
    priors = [StandardNormal(2), StandardNormal(1)]
    made = model(LadderMLPDecoder((2, 1), (5,), ((8,), (8,))), priors, Gaussian())
    return made, guide(made, LadderMLPEncoder((5,), ((8,), (8,))))


def mixture(guide):
    model = MixtureVAE(MLPDecoder(2, (5,), (8,)), GaussianMixture(2, components=3), Gaussian())
    return model, guide(model, MLPEncoder((5,), (8,)))


class Bounded(Prior):
    """A prior that is not supported on all of R^Z."""

    def forward(self):
        return dist.Uniform(torch.zeros(self.latent_dim), torch.ones(self.latent_dim)).to_event(1)


class LastDimension(Likelihood):
    """A likelihood whose event is the last dimension alone."""

    def forward(self, features):
        return dist.Normal(features, 1.0).to_event(1)


class OneBatchDimension(MeanField):
    """A guide that flattens all but the first dimension."""

    def local_parameters(self, x):
        return (self.head(self.encoder(x.reshape(len(x), *self.vae.event_shape))),)


class Counting(MeanField):
    """A guide whose posterior drifts with every call."""

    def __init__(self, vae, encoder):
        super().__init__(vae, encoder)
        self.register_buffer("calls", torch.tensor(0.0))

    def posterior(self, x):
        self.calls += 1
        return super().posterior(x)


@pytest.mark.parametrize(
    ("check", "part", "words"),
    [
        (testing.check_prior, Shifted, "prior_draws_have_its_density: AssertionError: draws and log_prob disagree"),
        (testing.check_prior, Unnormalized, "draws and log_prob disagree"),
        (testing.check_prior, NoEvent, r"NoEvent breaks its contract.*declare the latents to be one event"),
        (testing.check_guide, Borrower, "the guide registers parameters of the model"),
        (testing.check_guide, Batchwise, "a_datum_does_not_depend_on_its_batch"),
        (testing.check_likelihood, WrongFisher, "fisher.features. is .* standard errors"),
        (testing.check_prior, Bounded, "support interval.*the support must be R.Z"),
        (testing.check_likelihood, LastDimension, "expected one event for each datum.*self.to_event"),
        (testing.check_likelihood, lambda: Gaussian(scale=-1), "it cannot be built: InputError: scale is -1"),
        (testing.check_guide, OneBatchDimension, "breaks its contract.*shapes"),
        (testing.check_guide, Counting, "evaluation_changes_nothing: .*evaluation changed guide.calls"),
        (testing.check_model, convolutional(wrapped=False), "it cannot be built: .*networks.BatchApply"),
        pytest.param(
            testing.check_likelihood, WrongScaleMap, "fisher.features. is .* standard errors", marks=pytest.mark.slow
        ),
        (testing.check_likelihood, WrongMean, "likelihood_shapes"),
        (
            testing.check_guide,
            TooDense,
            "posterior_draws_have_its_density: AssertionError: draws and log_prob disagree",
        ),
        pytest.param(
            testing.check_guide,
            TooWide,
            "posterior_draws_have_its_density: AssertionError: draws and log_prob disagree",
            marks=pytest.mark.slow,
        ),
        (testing.check_loss, Half, "expected one value per datum"),
        (testing.check_model, lambda: ladder(Uncounted, LadderGuide), "Uncounted breaks .* in 1 of .* sites_and_plate"),
        (testing.check_model, lambda: ladder(LadderVAE, Undecided), r"the sites \['z1'\], the model \['z1', 'z2'\]"),
        (testing.check_model, lambda: mixture(Unclustered), r"in 1 of .* clusters\(x\) lacks y"),
    ],
)
def test_a_broken_part_is_told_what_it_breaks(check, part, words):
    with pytest.raises(AssertionError, match=f"(?s){words}"):
        check(part)
