"""Ladders and stacked hierarchies: against the plain VAE, closed forms and Pyro's losses."""

import copy
import math

import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import nn

import pyro_vaes as pv
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate import log_likelihood, log_weights
from pyro_vaes.guides import MeanField
from pyro_vaes.likelihoods import Bernoulli, Gaussian
from pyro_vaes.losses import ELBO, IWAE, Warmup
from pyro_vaes.losses.progressive import ProgressiveELBO
from pyro_vaes.losses.schedules import ExponentialWarmup
from pyro_vaes.models import ConditionalNormal, HierarchicalGuide, HierarchicalVAE, LadderGuide, LadderVAE, TopDownGuide
from pyro_vaes.networks import MLPDecoder, MLPEncoder
from pyro_vaes.networks.ladder import LadderConvDecoder, LadderConvEncoder, LadderMLPDecoder, LadderMLPEncoder
from pyro_vaes.priors import GaussianMixture, StandardNormal, VampPrior
from pyro_vaes.testing.guides import assert_trains, copies_are_independent, gradients_are_finite
from pyro_vaes.testing.pairs import Pair
from tests.helpers.linear_gaussian import LinearGaussian, inverse_positive

SHAPE, SIZES, BATCH = (1, 6, 5), (2, 3, 1), 4
HIDDEN, CHANNELS = ((8,), (7, 6), (5,)), (4, 3, 2)


def ladder(network="mlp", merge="gate", priors=(), likelihood=Bernoulli):
    priors = priors or [StandardNormal(size) for size in SIZES]
    if network == "mlp":
        decoder, encoder = LadderMLPDecoder(SIZES, SHAPE, HIDDEN, merge), LadderMLPEncoder(SHAPE, HIDDEN)
    else:
        decoder = LadderConvDecoder(SIZES, SHAPE, CHANNELS, hidden=8, merge=merge, activation=nn.ELU)
        encoder = LadderConvEncoder(SHAPE, CHANNELS, hidden=8, activation=nn.ELU)
    model = LadderVAE(decoder, priors, likelihood())
    return paired(model, LadderGuide(model, encoder))


def hierarchy(guide=TopDownGuide):
    conditionals = [ConditionalNormal(MLPEncoder((above,), (8,)), below) for below, above in ((2, 3), (3, 1))]
    model = HierarchicalVAE(MLPDecoder(2, SHAPE, (8,)), StandardNormal(1), conditionals, Bernoulli())
    if guide is TopDownGuide:
        return paired(model, TopDownGuide(model, LadderMLPEncoder(SHAPE, HIDDEN)))
    return paired(model, HierarchicalGuide(model, [MLPEncoder(shape, (8,)) for shape in (SHAPE, (2,), (3,))]))


def paired(model, guide):
    return Pair(model, guide, model.sample(BATCH), ELBO())


PAIRS = {
    "mlp": ladder,
    "mlp-concatenate": lambda: ladder(merge="concatenate"),
    "conv": lambda: ladder("conv"),
    "conv-concatenate": lambda: ladder("conv", "concatenate"),
    "mixture-prior": lambda: ladder(priors=[StandardNormal(2), GaussianMixture(3, 4), StandardNormal(1)]),
    "vamp-prior": lambda: ladder(priors=[StandardNormal(2), VampPrior(3, components=4), StandardNormal(1)]),
    "top-down": hierarchy,
    "bottom-up": lambda: hierarchy(HierarchicalGuide),
}
every_pair = pytest.mark.parametrize("make", PAIRS.values(), ids=PAIRS)


# --- exact --------------------------------------------------------------------------------------------------


class OnlyLevel(nn.Module):
    """Networks of a ladder of one level as those of a plain VAE."""

    def __init__(self, decoder, encoder):
        super().__init__()
        self.decoder, self.encoder = decoder, encoder

    def forward(self, z):
        return self.decoder([z])


@pytest.mark.parametrize(
    ("decoder", "encoder"),
    [
        (LadderMLPDecoder((2,), SHAPE, ((8, 6),)), LadderMLPEncoder(SHAPE, ((8, 6),))),
        (LadderConvDecoder((2,), SHAPE, (4,), hidden=8), LadderConvEncoder(SHAPE, (4,), hidden=8)),
    ],
    ids=["mlp", "conv"],
)
def test_a_ladder_of_one_level_is_the_vae(decoder, encoder):
    model = LadderVAE(decoder, [StandardNormal(2)], Gaussian(0.5))
    guide = LadderGuide(model, encoder)
    vae = pv.VAE(OnlyLevel(decoder, encoder), model.priors[0], model.likelihood)
    last = nn.Sequential()
    last.forward, last.out_features = (lambda x: encoder(x)[0]), encoder.out_features[0]
    plain = MeanField(vae, last)
    plain.head = guide.heads[0]
    x = torch.rand(BATCH, *SHAPE)
    z = torch.randn(5, BATCH, 2)
    torch.testing.assert_close(model.log_joint(x, z), vae.log_joint(x, z), rtol=0, atol=0)
    objectives = []
    for pair, site in ((vae, plain), "z"), ((model, guide), "z1"):
        torch.manual_seed(1)
        terms = ELBO(num_particles=3).terms(*pair, x)
        assert site in pv.traces.paired_traces(*pair, x)[0].nodes
        objectives.append(terms)
    torch.testing.assert_close(*objectives, rtol=0, atol=1e-5)


class Fixed(nn.Module):
    """The input itself, as an encoder's features, of one level or several."""

    def __init__(self, size, levels=None):
        super().__init__()
        self.levels = levels
        self.out_features = (size,) * levels if levels else size

    def forward(self, x):
        return [x] * self.levels if self.levels else x


def set_linear(head, weight, scale):
    with torch.no_grad():
        head.weight.zero_()
        head.weight[: len(weight)] = weight
        head.bias.zero_()
        head.bias[len(weight) :] = inverse_positive(scale)


class LinearHierarchy:
    """z₂ ~ N(0, I), z₁ ~ N(A z₂, S), x ~ N(z₁, σ²) with all matrices diagonal: the posterior is in closed form."""

    def __init__(self):
        self.slope = torch.tensor([1.5, -0.7]).double()
        self.variance = torch.tensor([0.6, 1.3]).double()
        decoder = MLPDecoder(2, (2,), hidden=())
        conditional = ConditionalNormal(Fixed(2), 2)
        self.model = HierarchicalVAE(decoder, StandardNormal(2), [conditional], Gaussian(0.5, learn=False)).double()
        with torch.no_grad():
            decoder[0].weight.copy_(torch.eye(2))
        set_linear(conditional.head, self.slope.diag(), self.variance.sqrt())
        self.noise = (2 * self.model.likelihood.log_scale).exp()
        self.x = torch.randn(BATCH, 2).double()

    @property
    def log_evidence(self):
        variance = self.slope**2 + self.variance + self.noise
        return dist.Normal(torch.zeros_like(variance), variance.sqrt()).to_event(1).log_prob(self.x)

    def exact(self, guide):
        """The exact posterior, by the guide's own factors."""
        seen = 1 / (self.slope**2 / (self.variance + self.noise) + 1)  # variance of z₂ given x
        gain = seen * self.slope / (self.variance + self.noise)
        if guide is TopDownGuide:
            guide = TopDownGuide(self.model, Fixed(2, levels=2)).double()
            set_linear(guide.heads[0], torch.eye(2), self.noise.sqrt().expand(2))
            set_linear(guide.heads[1], gain.diag(), seen.sqrt())
            return guide
        guide = HierarchicalGuide(self.model, [Fixed(2), Fixed(2)]).double()
        prior = self.slope**2 + self.variance
        below = 1 / (1 / prior + 1 / self.noise)
        above = 1 / (self.slope**2 / self.variance + 1)
        set_linear(guide.conditionals[0].head, (below / self.noise).diag(), below.sqrt())
        set_linear(guide.conditionals[1].head, (above * self.slope / self.variance).diag(), above.sqrt())
        return guide


hierarchical_guides = pytest.mark.parametrize("kind", [TopDownGuide, HierarchicalGuide])


@hierarchical_guides
def test_the_exact_posterior_has_no_gap(kind):
    linear = LinearHierarchy()
    guide = linear.exact(kind)
    weights = log_weights(linear.model, guide, linear.x, num_samples=7)
    torch.testing.assert_close(weights, linear.log_evidence.expand(7, -1), rtol=0, atol=1e-6)
    objective, terms = ELBO(num_particles=4000).objective(linear.model, guide, linear.x)
    torch.testing.assert_close(objective, linear.log_evidence, rtol=0, atol=0.1)
    torch.testing.assert_close(terms["kl"], terms["kl_z1"] + terms["kl_z2"])


def test_no_closed_form_where_the_orders_differ():
    """KL(q(z₁|x) ‖ p(z₁|z₂)) is no expectation where z₂ came from z₁: only log q - log p at the draw is right."""
    linear = LinearHierarchy()
    objective = ELBO().objective(linear.model, linear.exact(HierarchicalGuide), linear.x)[0]
    torch.testing.assert_close(objective, linear.log_evidence, rtol=0, atol=1e-6)


@hierarchical_guides
@pytest.mark.parametrize("loss", [ELBO(sticking_the_landing=True), IWAE(num_particles=3, dreg=True)])
def test_no_noise_is_left_in_the_gradient_at_the_exact_posterior(kind, loss):
    linear = LinearHierarchy()
    guide = linear.exact(kind)
    torch.testing.assert_close(loss.objective(linear.model, guide, linear.x)[0], linear.log_evidence)
    value = loss.differentiable_loss(linear.model, guide, linear.x)
    gradients = torch.autograd.grad(value, [*guide.parameters()])
    assert max(gradient.abs().max() for gradient in gradients) < 1e-6


def test_log_joint_of_a_hierarchy_is_that_of_its_sites():
    model, guide, x, _ = hierarchy()
    model_trace, _ = pv.traces.paired_traces(model, guide, x, num_particles=3)
    sites = pv.traces.sample_sites(model_trace)
    z = [sites[f"z{level}"]["value"] for level in (1, 2, 3)]
    expected = sum(site["log_prob"] for site in sites.values())
    torch.testing.assert_close(model.log_joint(x, *z), expected)


def test_likelihood_of_a_linear_ladder():
    linear = LinearGaussian(latent_dim=3, event_shape=(8,))

    class Joined(nn.Sequential):
        def forward(self, z):
            return super().forward(torch.cat(z, -1))

    model = LadderVAE(Joined(linear.vae.decoder), [StandardNormal(1), StandardNormal(2)], linear.vae.likelihood)
    guide = LadderGuide(model.double(), Fixed(8, levels=2)).double()
    scale = linear.mean_field_scale
    for head, part in zip(guide.heads, (slice(0, 1), slice(1, 3)), strict=True):
        set_linear(head, linear.gain[part], scale[part])
        with torch.no_grad():
            head.bias[: len(head.bias) // 2] = -linear.gain[part] @ linear.bias
    objective, _ = ELBO(num_particles=1000).objective(model, guide, linear.x)
    torch.testing.assert_close(objective, linear.log_evidence - linear.mean_field_gap, rtol=0, atol=0.5)
    estimate = log_likelihood(model, guide, linear.x, num_samples=2000)
    torch.testing.assert_close(estimate.per_datum, linear.log_evidence, rtol=0, atol=0.5)


# --- the contract -------------------------------------------------------------------------------------------


@every_pair
def test_shapes(make):
    model, guide, x, loss = make()
    assert model.sample(7).shape == (7, *SHAPE)
    z = [torch.randn(5, BATCH, size) for size in SIZES]
    assert model.decode(*z).shape == (5, BATCH, *SHAPE)
    log_joint = model.log_joint(x, *z)
    assert log_joint.shape == (5, BATCH)
    torch.testing.assert_close(log_joint[3], model.log_joint(x, *(each[3] for each in z)))
    for terms in (loss.terms(model, guide, x), ELBO(num_particles=3).terms(model, guide, x)):
        assert {name: term.shape for name, term in terms.items()} == dict.fromkeys(
            ("reconstruction", "kl", "kl_z1", "kl_z2", "kl_z3"), (BATCH,)
        )
    assert log_weights(model, guide, x, num_samples=6).shape == (6, BATCH)
    if hasattr(guide, "posteriors"):
        many = torch.stack([x, x.flip(0)])
        assert [q.batch_shape for q in guide.posteriors(many)] == [(2, BATCH)] * 3


@every_pair
def test_trains_in_stock_svi_and_under_the_losses(make):
    for loss in (Trace_ELBO(), ELBO(), IWAE(num_particles=2)):
        assert_trains(make(), loss)


@every_pair
def test_gradients_and_copies(make):
    gradients_are_finite(make)
    copies_are_independent(make)


@every_pair
def test_state_dict_float64_and_a_batch_of_one(make):
    (model, guide, x, _), (other, other_guide, *_) = make(), make()
    other.load_state_dict(model.state_dict())
    other_guide.load_state_dict(guide.state_dict())
    terms = []
    for pair in ((model, guide), (other, other_guide)):
        torch.manual_seed(3)
        terms.append(ELBO().terms(*pair, x))
    torch.testing.assert_close(*terms, rtol=0, atol=0)
    one = ELBO(num_particles=2).terms(model.double(), guide.double(), x[:1].double())
    assert all((term.shape, term.dtype) == ((1,), torch.float64) and term.isfinite().all() for term in one.values())
    assert model.sample(1).dtype == torch.float64


@every_pair
@torch.no_grad()
def test_elbo_is_the_mean_log_weight(make):
    (model, guide, x, _), draws = make(), 1000
    weights = log_weights(model, guide, x, draws)
    standard_error = weights.std(0) / draws**0.5
    objective = ELBO(num_particles=draws).objective(model, guide, x)[0]
    assert ((objective - weights.mean(0)).abs() < 8 * standard_error).all()


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_fit(network):
    data = pv.data.load("digits")
    size = data.event_shape
    if network == "mlp":
        decoder, encoder = LadderMLPDecoder((2, 2), size, ((16,), (8,))), LadderMLPEncoder(size, ((16,), (8,)))
    else:
        decoder, encoder = LadderConvDecoder((2, 2), size, (4, 8), 16), LadderConvEncoder(size, (4, 8), 16)
    model = LadderVAE(decoder, [StandardNormal(2), StandardNormal(2)], Gaussian())
    loss = ELBO(beta=ExponentialWarmup(steps=10))
    run = pv.fit(model, LadderGuide(model, encoder), data, loss=loss, epochs=2, progress=False)
    assert run.history[1]["valid_elbo"] > run.history[0]["valid_elbo"]
    assert run.history[0]["kl_z1"] + run.history[0]["kl_z2"] == pytest.approx(run.history[0]["kl"], rel=1e-4)


# --- levels -------------------------------------------------------------------------------------------------


def test_every_level_moves_the_picture():
    for make in (ladder, lambda: ladder("conv"), lambda: ladder("conv", "concatenate")):
        model = make().model
        z = [torch.zeros(1, size) for size in SIZES]
        middle = model.decode(*z)
        for level, size in enumerate(SIZES):
            moved = copy.copy(z)
            moved[level] = torch.ones(1, size)
            assert not torch.equal(model.decode(*moved), middle), f"level {level + 1} is not used"


def test_levels_fade_in_from_the_top():
    model, guide, x, _ = ladder()
    loss = ProgressiveELBO(steps=10, beta=0.5)
    loss.num_steps = 5
    torch.manual_seed(2)
    objective, terms = loss.objective(model, guide, x)
    kl = 0.5 * terms["kl_z2"] + terms["kl_z3"]
    torch.testing.assert_close(objective, terms["reconstruction"] - 0.5 * kl)
    assert model.decoder.presence.tolist() == [0.0, 0.5, 1.0]
    z = [torch.randn(1, size) for size in SIZES]
    torch.testing.assert_close(model.decode(*z), model.decode(torch.zeros(1, 2), *z[1:]))
    assert model.state_dict()["decoder.presence"].tolist() == [0.0, 0.5, 1.0]
    loss.num_steps = 20
    assert_trains(Pair(model, guide, x, loss), loss)


def test_levels_that_are_there_are_the_elbo():
    model, guide, x, _ = ladder()
    values = []
    for loss in (ELBO(), ProgressiveELBO(steps=3)):
        loss.num_steps = 9
        torch.manual_seed(2)
        values.append(loss.objective(model, guide, x)[0])
    assert torch.equal(*values)


def test_warmups():
    assert [ExponentialWarmup(10)(step) for step in (0, 10)] == pytest.approx([0, 1 - math.exp(-1)])
    with pytest.raises(InputError, match="steps is 0"):
        ExponentialWarmup(0)
    with pytest.raises(InputError, match="steps is 0"):
        ProgressiveELBO(0)
    with pytest.raises(InputError, match="MLPDecoder has no levels that fade in"):
        ProgressiveELBO(1, beta=Warmup(3)).terms(*hierarchy()[:3])


# --- bad input ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: LadderMLPDecoder((2, 0, 2), SHAPE), r"latent_dims is \(2, 0, 2\): expected positive whole numbers"),
        (lambda: LadderMLPDecoder((2, 2), SHAPE), "2 latent_dims .* but the networks have 3 levels"),
        (lambda: LadderMLPDecoder((2, 2), SHAPE, ()), "expected the sizes of each level"),
        (lambda: LadderMLPEncoder(SHAPE, ((8,), ())), "hidden of level 2 is"),
        (lambda: LadderMLPDecoder((2,), SHAPE, ((8,),), merge="gat"), "unknown merge 'gat': did you mean 'gate'"),
        (lambda: LadderConvEncoder(SHAPE, (4,) * 4), "4 stride-2 stages do not fit an image of 6 x 5: the most is 3"),
        (lambda: LadderConvDecoder((2,) * 4, SHAPE, (4,) * 4), "do not fit an image of 6 x 5: the most is 3"),
        (lambda: LadderGuide(ladder().model, LadderMLPEncoder(SHAPE, ((8,),))), "features of 1 levels, .* has 3"),
        (lambda: LadderGuide(ladder().model, MLPEncoder(SHAPE)), "set its attribute `out_features`"),
        (lambda: ladder(priors=[StandardNormal(2)] * 3), r"does not take latents of the sizes \(2, 2, 2\)"),
        (lambda: ladder(priors=[StandardNormal(2)]), "decoder has 3 levels, but was given 1"),
        (lambda: HierarchicalGuide(hierarchy().model, [MLPEncoder(SHAPE)]), "1 encoders, but the model has 3 levels"),
        (
            lambda: HierarchicalVAE(
                MLPDecoder(2, SHAPE), StandardNormal(3), [ConditionalNormal(MLPEncoder((4,)), 2)], Gaussian()
            ),
            "conditional of level 1 does not take latents of level 2, of size 3",
        ),
    ],
)
def test_bad_input_is_refused(build, message):
    with pytest.raises(InputError, match=message):
        build()
