"""The Laplace guide: exact where the model is linear, and otherwise its textbook form."""

import pyro
import pytest
import torch
from torch import nn
from torch.autograd.functional import jacobian

from pyro_vaes import VAE
from pyro_vaes.guides import Laplace, MeanField
from pyro_vaes.guides.laplace import LENGTHS
from pyro_vaes.likelihoods import Bernoulli, Gaussian, Likelihood
from pyro_vaes.losses import ELBO
from pyro_vaes.networks import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder, linear_head, linearize
from pyro_vaes.priors import StandardNormal
from tests.helpers.linear_gaussian import LinearGaussian


@pytest.fixture
def linear():
    return LinearGaussian()


@pytest.mark.parametrize("event_shape", [(1, 2, 4), (2,)], ids=["widening", "narrowing"])
def test_one_full_newton_step_is_the_exact_posterior(event_shape):
    linear = LinearGaussian(event_shape=event_shape)
    guide = Laplace(linear.vae, linear.encoder, updates=1, step_size=1.0).double()
    posterior = guide.posterior(linear.x)
    torch.testing.assert_close(posterior.mean, linear.mean, rtol=0, atol=1e-8)
    expected = linear.covariance.expand_as(posterior.covariance_matrix)
    torch.testing.assert_close(posterior.covariance_matrix, expected, rtol=0, atol=1e-8)


def test_laplace_elbo_of_one_sample_is_the_evidence(linear):
    guide = Laplace(linear.vae, linear.encoder, updates=1, step_size=1.0).double()
    terms = ELBO().terms(linear.vae, guide, linear.x)
    torch.testing.assert_close(terms["reconstruction"] - terms["kl"], linear.log_evidence, rtol=0, atol=1e-4)


EVENT = (1, 2, 3)


def mlp(*hidden):
    return lambda: MLPDecoder(2, EVENT, hidden=hidden)


def smooth():
    layers = [nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 4), nn.ELU(), nn.Linear(4, 5), nn.Softplus()]
    return nn.Sequential(*layers, nn.Linear(5, 6), nn.Unflatten(-1, EVENT))


class Masked(nn.Linear):
    """A linear layer whose Jacobian is not its weight."""

    def forward(self, z):
        return nn.functional.linear(z, self.weight * self.weight.gt(0), self.bias)


class Wrapped(nn.Module):
    """A decoder whose structure cannot be read off."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(2, 5), nn.Linear(5, 6)

    def forward(self, z):
        return self.last(torch.tanh(self.first(z))).unflatten(-1, EVENT)


DECODERS = {
    "linear": (mlp(), EVENT),
    "widening": (mlp(7, 4), EVENT),
    "narrowing": (mlp(9), EVENT),
    "smooth": (smooth, EVENT),
    "unstructured": (Wrapped, EVENT),
    "masked": (
        lambda: nn.Sequential(nn.Linear(2, 5), nn.Tanh(), Masked(5, 6), nn.Unflatten(-1, EVENT)),
        EVENT,
    ),
    "conv": (lambda: ConvDecoder(2, (1, 4, 3), channels=(3,), hidden=4, activation=nn.ELU), (1, 4, 3)),
}
LIKELIHOODS = {
    "Bernoulli": lambda shape: Bernoulli(),
    "Gaussian": lambda shape: Gaussian(0.7),
    "Gaussian-pixel": lambda shape: Gaussian(0.7, shape=shape),
}


def build(decoder, likelihood, **options):
    make_decoder, event_shape = DECODERS[decoder]
    vae = VAE(make_decoder(), StandardNormal(2), LIKELIHOODS[likelihood](event_shape)).double()
    if isinstance(vae.likelihood, Gaussian):
        nn.init.normal_(vae.likelihood.log_scale, std=0.2)
    encoder = ConvEncoder if decoder == "conv" else MLPEncoder
    sizes = {"channels": (2,), "hidden": 4} if decoder == "conv" else {"hidden": (4,)}
    guide = Laplace(vae, encoder(event_shape, **sizes, activation=nn.Tanh), **options).double()
    x = torch.rand(3, *event_shape).double()
    return vae, guide, x.round() if likelihood == "Bernoulli" else x


def curvature_and_gradient(vae, datum, mean):
    """Λ and ∇ log p(x, μ) of one datum, from an explicit Jacobian."""

    def decode(z):
        return vae.decoder(z.unsqueeze(0)).flatten()

    jac, features, x = jacobian(decode, mean, create_graph=True), decode(mean), datum.flatten()
    if isinstance(vae.likelihood, Bernoulli):
        probability = features.sigmoid()
        fisher, score = probability * (1 - probability), x - probability
    else:
        fisher = torch.exp(-2 * vae.likelihood.log_scale).expand_as(datum).flatten()
        score = (x - features) * fisher
    return jac.T @ torch.diag(fisher) @ jac + torch.eye(len(mean)).double(), jac.T @ score - mean


def best_length(vae, datum, mean, step):
    """The length of a step with the highest log p(x, z), tried one after another."""
    lengths = [(1 - index / (LENGTHS - 1)) ** 2 for index in range(LENGTHS)]
    values = [vae.log_joint(datum.unsqueeze(0), (mean + length * step).unsqueeze(0)).item() for length in lengths]
    return lengths[values.index(max(values))]


def textbook_elbo(vae, guide, x, noise):
    """The algorithm as published, datum by datum: it inverts, and gradients run through everything."""
    elbo = []
    for datum, mean, eps in zip(x, guide.head(guide.encoder(x))[:, :2], noise, strict=True):
        for t in range(guide.updates):
            precision, gradient = curvature_and_gradient(vae, datum, mean)
            step = torch.linalg.inv(precision) @ gradient
            mean = (
                mean + (best_length(vae, datum, mean, step) if guide.line_search else guide.step_size / (t + 1)) * step
            )
        factor = torch.linalg.cholesky(curvature_and_gradient(vae, datum, mean)[0])
        z = mean + torch.linalg.inv(factor).T @ eps
        normal = torch.distributions.MultivariateNormal(mean, precision_matrix=factor @ factor.T)
        elbo.append((vae.log_joint(datum.unsqueeze(0), z.unsqueeze(0)) - normal.log_prob(z)).squeeze())
    return torch.stack(elbo)


@pytest.mark.parametrize("options", [{"step_size": 0.8}, {"line_search": True}], ids=["damped", "line search"])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("decoder", DECODERS)
def test_laplace_value_and_gradients_equal_the_textbook(decoder, likelihood, options):
    vae, guide, x = build(decoder, likelihood, updates=3, **options)
    named = [*vae.named_parameters(prefix="vae"), *guide.named_parameters(prefix="guide")]
    torch.manual_seed(1)
    expected = textbook_elbo(vae, guide, x, torch.randn(len(x), 2, dtype=torch.float64))
    torch.manual_seed(1)
    value = ELBO().objective(vae, guide, x)[0]
    torch.testing.assert_close(value, expected, rtol=1e-8, atol=1e-8)

    def gradients(elbo):
        return torch.autograd.grad(elbo.sum(), [p for _, p in named])

    pairs = zip(named, gradients(value), gradients(expected), strict=True)
    for (name, _), gradient, wanted in pairs:
        assert wanted.abs().max() > 0, f"the test says nothing of {name}"
        torch.testing.assert_close(gradient, wanted, rtol=1e-8, atol=1e-8, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("leading", [(3,), (2, 3)], ids=["batch", "samples"])
def test_linearize_equals_autograd(decoder, leading):
    module = VAE(DECODERS[decoder][0](), StandardNormal(2), Bernoulli()).decoder.double()
    z = torch.randn(*leading, 2).double()
    direction = torch.randn(*leading, 2).double()
    rows = [jacobian(lambda v: module(v.unsqueeze(0)).flatten(), datum) for datum in z.view(-1, 2)]
    expected = torch.stack(rows).view(*leading, -1, 2)
    cotangent = torch.randn(expected.shape[:-1]).double()
    at = linearize(module, z)
    assert at.output is linear_head(module)
    assert (at.output is None) == (decoder in {"unstructured", "masked", "conv"})

    def up(value):
        return value if at.output is None else value @ at.output.weight.T

    down = cotangent if at.output is None else cotangent @ at.output.weight
    features = at.hidden if at.output is None else at.output(at.hidden)
    torch.testing.assert_close(features, module(z).flatten(z.dim() - 1))
    torch.testing.assert_close(up(at.transposed()).expand_as(expected.mT), expected.mT)
    torch.testing.assert_close(up(at.push(direction)), (expected @ direction.unsqueeze(-1)).squeeze(-1))
    torch.testing.assert_close(at.pull(down), (expected.mT @ cotangent.unsqueeze(-1)).squeeze(-1))


@pytest.mark.parametrize("decoder", ["widening", "conv"])
def test_detached_search_gives_the_same_posterior_and_no_gradient_to_the_encoder(decoder):
    vae, guide, x = build(decoder, "Gaussian", updates=3)
    detached = Laplace(vae, guide.encoder, updates=3, detach=True).double()
    detached.head = guide.head
    exact, cheap = guide.posterior(x), detached.posterior(x)
    torch.testing.assert_close(cheap.mean, exact.mean, rtol=0, atol=1e-12)
    torch.testing.assert_close(cheap.precision_tril, exact.precision_tril, rtol=0, atol=1e-12)
    ELBO().differentiable_loss(vae, detached, x).backward()
    assert all(p.grad is None for p in detached.parameters())
    assert all(p.grad is not None for p in vae.parameters())


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_updates_climb_the_log_joint_of_a_relu_network(likelihood):
    vae = VAE(MLPDecoder(4, (30,), hidden=(20, 20)), StandardNormal(4), LIKELIHOODS[likelihood]((30,))).double()
    encoder, x = MLPEncoder((30,), hidden=(8,)), vae.sample(16)
    pyro.set_rng_seed(2)
    head = nn.Linear(8, 2 * 4)
    log_joint = []
    for updates in (0, 1, 2, 4, 8):
        guide = Laplace(vae, encoder, updates=updates)
        guide.head = head
        log_joint.append(vae.log_joint(x, guide.double().posterior(x).mean))
    gains = torch.stack(log_joint).diff(dim=0)
    assert (gains.mean(1) > 0).all()  # a datum may lose a little where a step crosses a kink
    assert (gains.sum(0) > 0).all()


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_a_line_search_never_lowers_the_log_joint(likelihood):
    vae = VAE(MLPDecoder(4, (30,), hidden=(20, 20)), StandardNormal(4), LIKELIHOODS[likelihood]((30,))).double()
    for parameter in vae.decoder.parameters():
        nn.init.normal_(parameter)  # kinks and flat parts, where full steps fail
    encoder, x = MLPEncoder((30,), hidden=(8,)), vae.sample(64)
    searched, full = (Laplace(vae, encoder, updates=1, **each) for each in ({"line_search": True}, {"step_size": 1.0}))
    full.head = searched.head
    start = searched.double().local_parameters(x)[0][:, :4]
    gains = [vae.log_joint(x, guide.posterior(x).mean) - vae.log_joint(x, start) for guide in (searched, full.double())]
    assert (gains[0] >= 0).all()
    assert (gains[0] >= gains[1]).all()
    assert (gains[0] > gains[1]).any(), "the test says nothing"


def test_a_line_search_takes_the_full_step_where_it_is_best(linear):
    searched = Laplace(linear.vae, linear.encoder, updates=1, line_search=True).double()
    full = Laplace(linear.vae, linear.encoder, updates=1, step_size=1.0).double()
    full.head = searched.head
    assert torch.equal(searched.posterior(linear.x).mean, full.posterior(linear.x).mean)


@pytest.mark.parametrize("detach", [False, True])
def test_in_the_warmup_it_is_the_mean_field_guide_and_afterwards_one_without_warmup(detach):
    vae, guide, x = build("widening", "Bernoulli", warmup=3, detach=detach)
    plain, mean_field = Laplace(vae, guide.encoder, warmup=0, detach=detach), MeanField(vae, guide.encoder)
    plain.head = mean_field.head = guide.head
    guide.progress = 2 / 3
    found, expected = guide.posterior(x), mean_field.posterior(x)
    assert torch.equal(found.mean, expected.mean)
    assert torch.equal(found.stddev, expected.stddev)
    torch.testing.assert_close(gradients(vae, guide, x), gradients(vae, mean_field, x), rtol=0, atol=0)
    guide.progress = 1.0
    found, expected = guide.posterior(x), plain.posterior(x)
    assert torch.equal(found.mean, expected.mean)
    assert torch.equal(found.precision_tril, expected.precision_tril)


def gradients(vae, guide, x):
    """Gradients of the ELBO in the weights of model and guide, under one seed."""
    torch.manual_seed(1)
    weights = [*vae.parameters(), *guide.parameters()]
    return torch.autograd.grad(ELBO().differentiable_loss(vae, guide, x), weights)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"updates": -1}, "updates is -1"),
        ({"updates": 1.5}, "whole number"),
        ({"step_size": 0}, "positive"),
        ({"warmup": -1}, "warmup is -1"),
    ],
)
def test_laplace_refuses_options(linear, options, words):
    with pytest.raises(ValueError, match=words):
        Laplace(linear.vae, linear.encoder, **options)


def test_laplace_names_what_a_likelihood_lacks(linear):
    class Blind(Likelihood):
        """It implements nothing that Laplace asks for."""

        def forward(self, features):
            return self.to_event(pyro.distributions.Normal(features, 1.0))

    vae = VAE(linear.vae.decoder, linear.vae.prior, Blind())
    with pytest.raises(ValueError, match=r"Laplace does not support this model: Blind has no fisher"):
        Laplace(vae, linear.encoder)
