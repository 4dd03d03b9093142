"""Mixture guides and their losses: exact densities and exact gradients."""

import math

import pyro
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO

import pyro_vaes as pv
from pyro_vaes.distributions.normal_mixture import NormalMixture
from pyro_vaes.guides.mixture import recursive_log_weights
from pyro_vaes.losses.mixture_elbo import RecursiveMixtureELBO
from pyro_vaes.networks.positive import positive
from pyro_vaes.training.step import EagerStep
from tests.helpers.mixture_guides import MIXTURES, pair


def mixture(batch=(), components=3, size=2):
    shape = (*batch, components)
    scales = (torch.rand(*shape, size) + 0.5).double().requires_grad_()
    locs = torch.randn(*shape, size).double().requires_grad_()
    return NormalMixture(torch.randn(*shape).double().requires_grad_(), locs, scales)


@pytest.mark.parametrize("size", [1, 3])
def test_density_is_that_of_mixture_same_family(size):
    q = mixture(batch=(4,), size=size)
    base = torch.distributions.Independent(torch.distributions.Normal(q.locs, q.scales), 1)
    reference = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(logits=q.logits), base)
    z = torch.randn(7, 4, size).double()
    torch.testing.assert_close(q.log_prob(z), reference.log_prob(z))
    torch.testing.assert_close(q.mean, reference.mean)
    torch.testing.assert_close(q.variance, reference.variance)
    torch.testing.assert_close(q.expand((7, 4)).log_prob(z), q.log_prob(z))


@pytest.mark.parametrize("size", [1, 3])
def test_implicit_gradient_is_that_of_the_expectation(size):
    """d E[f(z)] / d parameters by draws, within 4 standard errors of a sum over components by quadrature-like draws."""
    torch.manual_seed(1)
    logits, locs, scales = torch.randn(3).double(), torch.randn(3, size).double(), (torch.rand(3, size) + 0.5).double()
    parameters = [value.requires_grad_() for value in (logits, locs, scales)]

    def function(z):
        return torch.sin(z + torch.arange(size)).prod(-1)

    def exact():
        """E[f] in closed form: the dimensions of a component are independent."""
        phase = torch.arange(size)
        moments = torch.exp(-0.5 * scales.square()) * torch.sin(locs + phase)
        return (logits.softmax(-1) * moments.prod(-1)).sum()

    wanted = torch.cat([g.flatten() for g in torch.autograd.grad(exact(), parameters)])
    draws = []
    for _ in range(40):
        value = function(NormalMixture(logits, locs, scales).rsample((2000,))).mean()
        draws.append(torch.cat([g.flatten() for g in torch.autograd.grad(value, parameters)]))
    draws = torch.stack(draws)
    error = draws.std(0) / math.sqrt(len(draws))
    assert ((draws.mean(0) - wanted).abs() < 4 * error + 1e-9).all()


def test_weights_follow_the_recursion():
    gates = torch.randn(5, 3).double()
    epsilon = gates.sigmoid()
    weights = torch.ones(5, 1).double()
    for m in range(3):
        weights = torch.cat([(1 - epsilon[:, m : m + 1]) * weights, epsilon[:, m : m + 1]], 1)
    torch.testing.assert_close(recursive_log_weights(gates).exp(), weights)


@pytest.mark.parametrize("guide", MIXTURES)
def test_one_component_is_the_mean_field_guide(guide):
    vae, one = pair(guide, components=1)
    plain = pv.guides.MeanField(vae, one.encoder).double()
    plain.head.load_state_dict(one.head.state_dict())
    x = torch.randn(4, 5).double()
    z = torch.randn(4, 2).double()
    torch.testing.assert_close(one.posterior(x).log_prob(z), plain.posterior(x).log_prob(z))


@pytest.mark.parametrize(("divergence", "bound"), [(0.5, 2.0), (2.0, 3.0), (8.0, 8.0), (30.0, 3.0)])
def test_the_reward_of_divergence_has_its_closed_form(divergence, bound):
    """For q = N(δ, 1) and Q = N(0, 1), log q / Q is N(KL, 2 KL) under q, and E min(C, ·) follows."""
    guide = pair(pv.guides.RecursiveMixture, bound=bound)[1]
    spread = math.sqrt(2 * divergence)  # δ, and the standard deviation of log q / Q
    normal = torch.distributions.Normal(torch.zeros(()).double(), 1.0)
    noise = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    own, before = normal.log_prob(noise), normal.log_prob(noise + spread)
    reward = guide.component_objective(torch.zeros_like(noise), own, before) + own
    expected = (own.exp() * reward).sum() * (noise[1] - noise[0])
    distance = torch.tensor((bound - divergence) / spread).double()
    short = (bound - divergence) * normal.cdf(distance) + spread * normal.log_prob(distance).exp()
    torch.testing.assert_close(expected, bound - short, rtol=0, atol=1e-7)
    assert expected < min(bound, divergence)


def test_the_bound_rises_and_falls_in_the_warm_up():
    guide = pair(pv.guides.RecursiveMixture, bound=2.0)[1]
    found = []
    for progress in (0.0, 0.24, 0.25, 0.375, 0.5, 0.75, 1.0):
        guide.progress = progress
        found.append(guide.current_bound)
    assert found == pytest.approx([0.0, 0.0, 2.0, 16.0, 128.0, 16.0, 2.0])


@pytest.mark.parametrize("guide", MIXTURES)
def test_weights_come_to_depend_on_x(guide):
    vae, made = pair(guide)
    with torch.no_grad():
        for gate in made.gates.parameters():
            gate.zero_()
    x = torch.randn(64, 5).double()
    optimizer = torch.optim.Adam([*made.parameters()], lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        pv.losses.default_loss(made).differentiable_loss(vae, made, x).backward()
        optimizer.step()
    assert made.posterior(x).logits.exp().std(0).max() > 0.01


def sequential_gradients(vae, guide, x, seed):
    """Every group's gradient, its objective computed by itself in the plain way, one after the other."""
    torch.manual_seed(seed)
    noise = torch.randn_like(guide.local_parameters(x)[0])
    components = guide.components
    gradients = {}

    def q(index, held):
        locs, raw_scales, _ = guide.local_parameters(x)
        scales = positive(raw_scales)
        base = torch.distributions.Independent(torch.distributions.Normal(locs[:, index], scales[:, index]), 1)
        if held:
            base = torch.distributions.Independent(
                torch.distributions.Normal(locs[:, index].detach(), scales[:, index].detach()), 1
            )
        return base, locs[:, index] + scales[:, index] * noise[:, index]

    def log_mixture(z, upto, epsilons):
        total = q(0, True)[0].log_prob(z)
        for m in range(1, upto + 1):
            total = torch.logaddexp(
                total + torch.log1p(-epsilons[m - 1]), epsilons[m - 1].log() + q(m, True)[0].log_prob(z)
            )
        return total

    def epsilons(attached=None):
        gates = guide.local_parameters(x)[2].sigmoid()
        return [gates[:, m] if m == attached else gates[:, m].detach() for m in range(components - 1)]

    def log_joint(index, held):
        """log p(x | z) at a draw, and the mean of log p(z), which has no noise."""
        base, z = q(index, False)
        locs, scales = base.mean, base.stddev
        if held:
            z, locs, scales = z.detach(), locs.detach(), scales.detach()
        expected = -0.5 * (locs.square() + scales.square() + math.log(2 * math.pi)).sum(-1)
        return vae.likelihood(vae.decoder(z)).log_prob(x) + expected

    def weights(epsilons):
        result = [torch.ones(len(x), dtype=torch.float64)]
        for e in epsilons:
            result = [(1 - e) * w for w in result] + [e]
        return result

    def bound(upto, epsilons):
        total = 0
        for w, index in zip(weights(epsilons[:upto]), range(upto + 1), strict=True):
            z = q(index, True)[1].detach()
            total = total + w * (log_joint(index, True) - log_mixture(z, upto, epsilons))
        return total.sum()

    model = list(vae.parameters())
    gradients["model"] = torch.autograd.grad(bound(components - 1, epsilons()), model)
    encoders, heads = [guide.encoder, *guide.encoders], [guide.head, *guide.heads]
    for m in range(components):
        own = [*encoders[m].parameters(), *heads[m].parameters()]
        density, z = q(m, False)
        elbo = log_joint(m, False) - density.log_prob(z)
        if m:
            divergence = density.log_prob(z) - log_mixture(z, m - 1, epsilons())
            elbo = elbo + divergence.clamp_max(guide.bound)
            if isinstance(guide, pv.guides.BoostedMixture):
                elbo = elbo - guide.entropy * density.log_prob(z)
        gradients[f"component {m}"] = torch.autograd.grad(elbo.sum(), own)
        if m:
            gate = list(guide.gates[m - 1].parameters())
            gradients[f"gate {m}"] = torch.autograd.grad(bound(m, epsilons(m - 1)), gate)
    return gradients


@pytest.mark.parametrize(
    ("guide", "options"),
    [
        (pv.guides.RecursiveMixture, {}),
        (pv.guides.RecursiveMixture, {"bound": 0.5}),
        (pv.guides.BoostedMixture, {"entropy": 0.7}),
        (pv.guides.BoostedMixture, {"bound": 0.5}),
    ],
)
def test_one_pass_gives_every_group_its_own_gradient(guide, options):
    vae, guide = pair(guide, components=4, **options)
    x = torch.randn(6, 5).double()
    wanted = sequential_gradients(vae, guide, x, seed=3)
    torch.manual_seed(3)
    pv.losses.default_loss(guide).differentiable_loss(vae, guide, x).backward()
    encoders, heads = [guide.encoder, *guide.encoders], [guide.head, *guide.heads]
    groups = {"model": list(vae.parameters())}
    for m in range(4):
        groups[f"component {m}"] = [*encoders[m].parameters(), *heads[m].parameters()]
        if m:
            groups[f"gate {m}"] = list(guide.gates[m - 1].parameters())
    assert set(groups) == set(wanted)
    for name, parameters in groups.items():
        for parameter, gradient in zip(parameters, wanted[name], strict=True):
            torch.testing.assert_close(parameter.grad, -gradient, msg=lambda text, name=name: f"{name}: {text}")


def test_the_objective_of_boosting_is_the_published_one_below_its_bound():
    _, guide = pair(pv.guides.BoostedMixture, components=2, entropy=0.7)
    log_joint, log_own, log_before = torch.randn(3, 100).double()
    published = log_joint - log_before - 0.7 * log_own
    torch.testing.assert_close(guide.component_objective(log_joint, log_own, log_before), published)


@pytest.mark.parametrize(("bound", "stays"), [(1e30, False), (30.0, True)])
def test_a_boosted_component_runs_away_from_a_correlated_posterior_without_a_bound(bound, stays):
    torch.manual_seed(0)
    decoder = torch.nn.Linear(2, 2, bias=False)
    vae = pv.VAE(decoder, pv.priors.StandardNormal(2), pv.likelihoods.Gaussian(scale=0.1, learn=False))
    with torch.no_grad():
        decoder.weight.copy_(torch.tensor([[1.0, 1.0], [0.0, 0.3]]))  # one direction is much better known
    guide = pv.guides.BoostedMixture(vae, pv.networks.MLPEncoder((2,), (16,)), components=2, bound=bound)
    x = torch.randn(64, 2)
    step = EagerStep(vae.requires_grad_(False), guide, pv.losses.default_loss(guide), lr=1e-2)
    for _ in range(400):
        step(x)
    farthest = guide.local_parameters(x)[0].abs().max()
    assert (farthest < 10) == stays


@pytest.mark.parametrize("guide", MIXTURES)
def test_trains_in_stock_svi(guide):
    vae, guide = pair(guide)
    x = torch.randn(8, 5).double()
    for loss in (pv.losses.default_loss(guide), pv.losses.ELBO(), Trace_ELBO()):
        before = [p.detach().clone() for p in (*vae.parameters(), *guide.parameters())]
        SVI(vae, guide, pyro.optim.Adam({"lr": 1e-2}), loss).step(x)
        names = [n for module in (vae, guide) for n, _ in module.named_parameters()]
        now = [*vae.parameters(), *guide.parameters()]
        stuck = [name for name, a, b in zip(names, before, now, strict=True) if torch.equal(a, b)]
        assert not stuck, f"{stuck} did not move under {type(loss).__name__}"


def test_a_loss_that_does_not_fit_the_guide_is_refused():
    vae, guide = pair(pv.guides.Mixture)
    with pytest.raises(pv.InputError, match=r"RecursiveMixtureELBO does not fit.*BoostedMixture, RecursiveMixture"):
        RecursiveMixtureELBO().objective(vae, guide, torch.randn(2, 5).double())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"components": 0}, "components is 0"),
        ({"components": 1.5}, "components is 1.5"),
        ({"bound": 0.0}, "bound is 0.0"),
        ({"components": 10**12}, r"GiB to train, but .* are free: give at most \d+"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(pv.InputError, match=message):
        pair(pv.guides.RecursiveMixture, **options)
