"""The flow guides: exact densities, the autoregressive triangle, reflections."""

import math

import pytest
import torch
from torch.autograd.functional import jacobian
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from pyro_vaes import VAE
from pyro_vaes.distributions.normal import ReflectedNormal
from pyro_vaes.evaluate import active_units, posterior_mean
from pyro_vaes.guides import Householder, InverseAutoregressiveFlow, MeanField
from pyro_vaes.likelihoods import Gaussian
from pyro_vaes.networks import MLPDecoder, MLPEncoder
from pyro_vaes.priors import StandardNormal

SHAPE, BATCH, SIZE = (6,), 3, 4
FLOWS = {
    "iaf-1": lambda *pair: InverseAutoregressiveFlow(*pair, flows=1, hidden=(8,)),
    "iaf-3": lambda *pair: InverseAutoregressiveFlow(*pair, flows=3, hidden=(9, 7)),
    "iaf-narrow": lambda *pair: InverseAutoregressiveFlow(*pair, flows=2, hidden=(2,)),
    "householder-1": lambda *pair: Householder(*pair, flows=1),
    "householder-5": lambda *pair: Householder(*pair, flows=5),
}
every_flow = pytest.mark.parametrize("flow", FLOWS)
every_size = pytest.mark.parametrize("size", [1, 2, SIZE])


def build(flow, size=SIZE):
    """A guide in float64, far from its first weights, and a batch."""
    vae = VAE(MLPDecoder(size, SHAPE, hidden=(8,)), StandardNormal(size), Gaussian(0.5))
    guide = FLOWS[flow](vae, MLPEncoder(SHAPE, hidden=(8,))).double()
    with torch.no_grad():
        for p in guide.parameters():
            p.copy_(torch.randn_like(p) / max(1, p.shape[-1]) ** 0.5)
    return guide, torch.randn(BATCH, *SHAPE).double()


def transport(q, z0):
    """Where the flow of a posterior takes draws of its base."""
    if isinstance(q, ReflectedNormal):
        return q.reflect(z0)
    for step in q.transforms:
        z0 = step(z0)
    return z0


def base(q):
    return Normal(q.loc, q.scale) if isinstance(q, ReflectedNormal) else q.base_dist.base_dist


def autograd_log_prob(q, z0):
    """Log-density at the image of z0, from the full Jacobian of the flow by automatic differentiation."""
    values = []
    for i in range(BATCH):
        whole = jacobian(lambda z: transport(q, z), z0)
        values.append(base(q).log_prob(z0).sum(-1)[i] - torch.linalg.slogdet(whole[i, :, i]).logabsdet)
    return torch.stack(values)


# --- densities ----------------------------------------------------------------------------------------------


@every_size
@every_flow
def test_density_of_its_own_draws_equals_autograd(flow, size):
    guide, x = build(flow, size)
    q = guide.posterior(x)
    torch.manual_seed(1)
    z = q.rsample()
    torch.manual_seed(1)
    noise = torch.randn(BATCH, size).double()
    z0 = base(q).loc + base(q).scale * noise
    torch.testing.assert_close(z, transport(q, z0))
    torch.testing.assert_close(q.log_prob(z), autograd_log_prob(q, z0), rtol=0, atol=1e-6)
    torch.testing.assert_close(q.log_prob(z), guide.posterior(x).log_prob(z), rtol=0, atol=1e-8)


@every_size
@every_flow
def test_density_of_any_other_point_equals_autograd(flow, size):
    guide, x = build(flow, size)
    q, z0 = guide.posterior(x), 2 * torch.randn(BATCH, size).double()
    z = transport(guide.posterior(x), z0)
    torch.testing.assert_close(q.log_prob(z), autograd_log_prob(q, z0), rtol=0, atol=1e-6)
    q.rsample()  # it must not matter what was drawn before
    torch.testing.assert_close(q.log_prob(z), autograd_log_prob(q, z0), rtol=0, atol=1e-6)


@every_flow
def test_shapes_of_particles_contexts_and_points(flow):
    guide, x = build(flow)
    many = torch.stack([x, x + 1])
    wide = guide.posterior(x).expand((5, BATCH))
    z = wide.rsample()
    assert (z.shape, wide.log_prob(z).shape) == ((5, BATCH, SIZE), (5, BATCH))
    torch.testing.assert_close(wide.log_prob(z), guide.posterior(x).log_prob(z))
    contexts = guide.posterior(many)
    z = contexts.rsample((5,))
    assert (z.shape, contexts.log_prob(z).shape) == ((5, 2, BATCH, SIZE), (5, 2, BATCH))
    torch.testing.assert_close(contexts.log_prob(z)[:, 1], guide.posterior(x + 1).log_prob(z[:, 1]))
    point = torch.randn(SIZE).double()
    expected = guide.posterior(x).log_prob(point.expand(BATCH, SIZE))
    torch.testing.assert_close(guide.posterior(x).log_prob(point), expected)


@every_flow
def test_density_of_a_draw_without_gradients_has_all_of_them(flow):
    guide, x = build(flow)
    q = guide.posterior(x)
    z = q.sample()
    parameters = list(guide.parameters())
    own, other = (
        torch.autograd.grad(q.log_prob(value).sum(), parameters, retain_graph=True) for value in (z, z.clone())
    )
    for gradient, expected in zip(own, other, strict=True):
        torch.testing.assert_close(gradient, expected)
    z = z.clone().requires_grad_()
    assert torch.autograd.grad(q.log_prob(z).sum(), z)[0].abs().min() > 0


# --- inverse autoregressive flow ----------------------------------------------------------------------------


@pytest.mark.parametrize("flow", ["iaf-1", "iaf-3", "iaf-narrow"])
def test_steps_invert_and_are_triangular_in_alternating_order(flow):
    guide, x = build(flow)
    for k, step in enumerate(guide.posterior(x).transforms):
        z0 = torch.randn(BATCH, SIZE).double()
        torch.testing.assert_close(step.inv(step(z0).clone()), z0, rtol=0, atol=1e-9)
        torch.testing.assert_close(step(step.inv(z0)), z0, rtol=0, atol=1e-9)
        whole = jacobian(step, z0)
        for i in range(BATCH):
            matrix = whole[i, :, i] if k % 2 == 0 else whole[i, :, i].T
            assert torch.equal(matrix.triu(1), torch.zeros_like(matrix))
            assert (matrix.diagonal() > 0).all()
            assert matrix.tril(-1).count_nonzero() >= (1 if flow == "iaf-narrow" else SIZE * (SIZE - 1) // 2)
            assert not whole[i, :, torch.arange(BATCH) != i].any(), "a datum sees its batch mates"


def test_gates_start_near_one():
    guide = InverseAutoregressiveFlow(build("iaf-1")[0].vae, MLPEncoder(SHAPE, hidden=(8,)))
    step = guide.posterior(torch.zeros(1, *SHAPE)).transforms[0]
    gates = jacobian(step, torch.zeros(1, SIZE))[0, :, 0].diagonal()
    assert ((gates > 0.75) & (gates < 0.97)).all()


def test_every_step_depends_on_x():
    guide, x = build("iaf-3")
    z0 = torch.randn(SIZE).double()
    for step in guide.posterior(x).transforms:
        moved = step(z0.expand(BATCH, SIZE))
        assert (moved[0] != moved[1]).all(), "the context is masked away"
    for network in guide.flows:
        gradient = torch.autograd.grad(guide.posterior(x).rsample().sum(), network.context.weight)[0]
        assert gradient.count_nonzero() > 0


def test_masks_connect_every_coordinate_to_all_before_it():
    guide, x = build("iaf-1", size=SIZE)
    step = guide.posterior(x[:1]).transforms[0]
    mean = jacobian(lambda z: step.network.outputs(z, step.context)[0], torch.randn(1, SIZE).double())[0, :, 0]
    assert torch.equal(mean != 0, torch.ones(SIZE, SIZE).tril(-1).bool())


# --- Householder flow ---------------------------------------------------------------------------------------


def matrices(q):
    """H_K … H₁ as an explicit product of Z x Z matrices, shape (B, Z, Z)."""
    product = torch.eye(SIZE).double().expand(BATCH, SIZE, SIZE)
    for v in q.vectors.unbind(-2):
        outer = v.unsqueeze(-1) * v.unsqueeze(-2) / v.square().sum(-1)[:, None, None]
        product = (torch.eye(SIZE).double() - 2 * outer) @ product
    return product


@pytest.mark.parametrize("flow", ["householder-1", "householder-5"])
def test_reflections_equal_products_of_matrices(flow):
    guide, x = build(flow)
    q, z0 = guide.posterior(x), torch.randn(7, BATCH, SIZE).double()
    assert q.vectors.shape == (BATCH, guide.flows, SIZE)
    z = q.reflect(z0)
    torch.testing.assert_close(z, (matrices(q) @ z0.unsqueeze(-1)).squeeze(-1))
    torch.testing.assert_close(z.norm(dim=-1), z0.norm(dim=-1))
    torch.testing.assert_close(q.unreflect(z), z0)
    assert (q.vectors[0] != q.vectors[1]).all(), "the reflections do not depend on x"
    if guide.flows > 1:
        assert not torch.allclose(q.unreflect(z0), z)


@pytest.mark.parametrize("flow", ["householder-1", "householder-5"])
def test_reflected_normal_is_the_normal_with_turned_covariance(flow):
    guide, x = build(flow)
    q, turn = guide.posterior(x), matrices(guide.posterior(x))
    dense = MultivariateNormal((turn @ q.loc.unsqueeze(-1)).squeeze(-1), turn @ torch.diag_embed(q.scale**2) @ turn.mT)
    z = torch.randn(7, BATCH, SIZE).double()
    torch.testing.assert_close(q.log_prob(z), dense.log_prob(z))
    for name in ("mean", "variance", "covariance_matrix"):
        torch.testing.assert_close(getattr(q, name), getattr(dense, name))
    torch.testing.assert_close(q.entropy(), dense.entropy())
    prior = Normal(torch.randn(SIZE).double(), torch.rand(SIZE).double() + 0.5)
    other = MultivariateNormal(prior.loc, torch.diag(prior.variance))
    kl = kl_divergence(q, torch.distributions.Independent(prior, 1))
    torch.testing.assert_close(kl, kl_divergence(dense, other))
    standard = torch.distributions.Independent(Normal(torch.zeros(SIZE).double(), 1.0), 1)
    unturned = torch.distributions.Independent(Normal(q.loc, q.scale), 1)
    torch.testing.assert_close(kl_divergence(q, standard), kl_divergence(unturned, standard))


def test_reflected_normal_checks_its_arguments():
    with pytest.raises(ValueError, match="scale"):
        ReflectedNormal(torch.zeros(2), -torch.ones(2), torch.ones(1, 2), validate_args=True)


# --- means --------------------------------------------------------------------------------------------------


def test_posterior_mean_in_closed_form_and_from_draws():
    guide, x = build("householder-5")
    assert torch.equal(posterior_mean(guide, x), guide.posterior(x).mean)
    guide, x = build("iaf-3")
    with torch.no_grad():
        z, draws = guide.posterior(x).sample((20_000,)), 2000
    error = (posterior_mean(guide, x, num_samples=draws) - z.mean(0)).abs()
    assert (error < 5 * z.std(0) * math.sqrt(1 / draws + 1 / len(z))).all()
    assert not posterior_mean(guide, x).requires_grad


def test_the_noise_of_draws_does_not_make_units_active():
    guide, _ = build("iaf-1")
    x = torch.randn(1000, *SHAPE).double()
    with torch.no_grad():
        for linear in (guide.head, guide.flows[0].context):
            linear.weight.zero_()
        guide.head.bias.fill_(1.0)
        noise = posterior_mean(guide, x).var(0)
    assert (noise > 0.01).all()
    assert active_units(guide, x) == 0
    mean_field = MeanField(guide.vae, guide.encoder).double()
    assert active_units(mean_field, x, threshold=0.0) == SIZE


# --- refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("guide", "options", "words"),
    [
        (Householder, {"flows": 0}, "flows is 0"),
        (Householder, {"flows": 1.5}, "flows is 1.5"),
        (InverseAutoregressiveFlow, {"flows": -1}, "flows is -1"),
        (InverseAutoregressiveFlow, {"hidden": ()}, r"hidden is \(\)"),
        (InverseAutoregressiveFlow, {"hidden": (8, 0)}, r"hidden is \(8, 0\)"),
    ],
)
def test_flows_refuse_options(guide, options, words):
    vae = build("iaf-1")[0].vae
    with pytest.raises(ValueError, match=words):
        guide(vae, MLPEncoder(SHAPE, hidden=(8,)), **options)
