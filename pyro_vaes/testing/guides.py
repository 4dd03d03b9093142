"""Checks of guides, and checks of a model and guide as a pair, which apply to all parts."""

from __future__ import annotations

import copy
import io

import torch
from pyro.distributions import MultivariateNormal
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import PyroOptim

from pyro_vaes.likelihoods import Bernoulli, Gaussian
from pyro_vaes.losses import ELBO
from pyro_vaes.priors import GaussianMixture, StandardNormal
from pyro_vaes.testing.pairs import (
    BATCH,
    LATENT_DIM,
    Check,
    MakeGuide,
    MakePair,
    Pair,
    agree,
    no_inner_noise,
    pair,
    run_checks,
)
from pyro_vaes.traces import paired_traces


def shapes(make: MakePair) -> None:
    """Posterior, decoder and densities preserve the leading dimensions of x and of samples."""
    vae, guide, x, _ = make()
    shape = x.shape[1:]
    many = torch.stack([x, x.flip(0)])
    point = torch.randn(LATENT_DIM)
    with no_inner_noise():
        q, alone = guide.posterior(many), guide.posterior(x.flip(0))
    found = tuple(q.batch_shape), tuple(q.event_shape)
    assert found == ((2, BATCH), (LATENT_DIM,)), (
        f"for x {tuple(many.shape)} the posterior has batch shape {found[0]} and event shape {found[1]}, expected "
        f"(2, {BATCH}) and ({LATENT_DIM},): declare the latents to be one event with .to_event(1)"
    )
    torch.testing.assert_close(q.log_prob(point)[1], alone.log_prob(point), rtol=1e-3, atol=1e-4)
    z = q.rsample((5,))
    assert (z.shape, q.log_prob(z).shape) == ((5, 2, BATCH, LATENT_DIM), (5, 2, BATCH))
    assert vae.decode(z).shape == (5, 2, BATCH, *shape)
    log_joint = vae.log_joint(x, z[:, 0])
    assert log_joint.shape == (5, BATCH)
    torch.testing.assert_close(log_joint[3], vae.log_joint(x, z[3, 0]))
    assert vae.sample(7).shape == (7, *shape)
    vae.likelihood.check(vae.sample(7))


def sites_and_plate(make: MakePair) -> None:
    """Latent "z" and observation "x" lie in the plate "data", with one log-density per datum and particle."""
    vae, guide, x, _ = make()
    for particles, sizes in [(1, (BATCH,)), (3, (3, BATCH))]:
        model_trace, guide_trace = paired_traces(vae, guide, x, num_particles=particles)
        assert set(model_trace.stochastic_nodes) - {"particles"} == {"data", "z"}
        assert model_trace.observation_nodes == ["x"]
        assert set(guide_trace.stochastic_nodes) - {"particles"} == {"data", "z"}
        for site in (model_trace.nodes["z"], model_trace.nodes["x"], guide_trace.nodes["z"]):
            assert site["log_prob"].shape == sizes
            assert ("data", -1, BATCH) in [(f.name, f.dim, f.size) for f in site["cond_indep_stack"]]
        z = guide_trace.nodes["z"]["value"]
        assert z is not None
        log_joint = vae.log_joint(x, z)
        torch.testing.assert_close(sum(model_trace.nodes[name]["log_prob"] for name in "zx"), log_joint)


def gradients_are_finite(make: MakePair) -> None:
    """Every parameter receives a finite, nonzero gradient from the loss."""
    tested = make()
    vae, guide, x, loss = tested
    loss.differentiable_loss(vae, guide, x).backward()
    for name, parameter in tested.parameters().items():
        assert parameter.grad is not None, f"{name} receives no gradient"
        assert parameter.grad.isfinite().all(), f"the gradient of {name} is not finite"
        assert parameter.grad.any(), f"the gradient of {name} is zero"


@torch.no_grad()
def posterior_draws_have_its_density(make: MakePair) -> None:
    """The posterior's draws follow its density, and the density is normalized."""
    _, guide, x, _ = make()
    q = guide.posterior(x)
    draws = q.sample((5000,))
    covariance = torch.stack([draw.T.cov() for draw in draws.unbind(1)])
    agree(q, MultivariateNormal(draws.mean(0), 0.5 * covariance), draws=20_000)


def a_datum_does_not_depend_on_its_batch(make: MakePair) -> None:
    """q(z | x) of a datum does not depend on the rest of its batch."""
    _, guide, x, _ = make()
    with no_inner_noise():
        whole, alone = guide.posterior(x), guide.posterior(x[1:2])
    z = torch.randn(LATENT_DIM)
    torch.testing.assert_close(whole.log_prob(z)[1:2], alone.log_prob(z), rtol=1e-4, atol=1e-4)


def train(tested: Pair, loss: object, steps: int = 6) -> list[float]:
    """Losses of a few steps of stock SVI."""
    svi = SVI(tested.model, tested.guide, PyroOptim(torch.optim.Adam, {"lr": 1e-2}), loss)
    return [svi.step(tested.x) for _ in range(steps)]


def assert_trains(tested: Pair, loss: object) -> None:
    """Assert that stock SVI updates every parameter, with finite losses."""
    before = tested.snapshot()
    losses = train(tested, loss)
    assert torch.tensor(losses).isfinite().all(), f"the losses are {losses}"
    unchanged = before.keys() - tested.moved(before)
    assert not unchanged, f"not updated under {type(loss).__name__}: {', '.join(sorted(unchanged))}"


def trains_in_stock_svi(make: MakePair) -> None:
    """SVI updates all parameters of two pairs in one process, with Pyro's loss and with the pair's own."""
    for _ in range(2):
        assert_trains(make(), Trace_ELBO())
        tested = make()
        assert_trains(tested, tested.loss)


def training_lowers_the_loss(make: MakePair) -> None:
    """Sixty steps on one batch lower the negative ELBO."""
    losses = train(make(), ELBO(), steps=60)
    assert sum(losses[-10:]) < sum(losses[:10]), f"the loss went from {losses[0]:.4g} to {losses[-1]:.4g}"


def copies_are_independent(make: MakePair) -> None:
    """A deep copy includes its model and trains independently of the original."""
    first = make()
    pairs = [first, Pair(*copy.deepcopy(first))]
    assert pairs[1].guide.vae is pairs[1].model
    for one, other in (pairs, pairs[::-1]):
        rest = other.snapshot()
        assert_trains(one, Trace_ELBO())
        assert not other.moved(rest), "training one copy changed the other"


def state_dict_round_trip(make: MakePair) -> None:
    """Saved weights loaded into a new pair give the same densities."""
    (vae, guide, x, _), (other_vae, other_guide, *_) = make(), make()
    file = io.BytesIO()
    torch.save([vae.state_dict(), guide.state_dict()], file)
    file.seek(0)
    for module, state in zip((other_vae, other_guide), torch.load(file, weights_only=True), strict=True):
        module.load_state_dict(state)
    z = torch.randn(BATCH, LATENT_DIM)
    assert torch.equal(vae.log_joint(x, z), other_vae.log_joint(x, z)), "the state dict of the model is incomplete"
    with no_inner_noise():
        q, other = guide.posterior(x), other_guide.posterior(x)
    assert torch.equal(q.log_prob(z), other.log_prob(z)), "the state dict of the guide is incomplete"


def guide_leaves_the_model_alone(make: MakePair) -> None:
    """The guide references its model without registering the model's parameters."""
    vae, guide, *_ = make()
    assert guide.vae is vae
    shared = {*map(id, guide.parameters())} & {*map(id, vae.parameters())}
    assert not shared, "the guide registers parameters of the model: pass the model to Guide.__init__ only"
    assert not {*guide.modules()} & {*vae.modules()}, "the guide registers a module of the model"


def float64_and_a_batch_of_one(make: MakePair) -> None:
    """The pair works in float64, on one datum, with several particles."""
    vae, guide, x, _ = make()
    vae, guide, x = vae.double(), guide.double(), x[:1].double()
    for name, term in ELBO(num_particles=2).terms(vae, guide, x).items():
        assert (term.shape, term.dtype) == ((1,), torch.float64), f"{name} is {term.dtype} of shape {tuple(term.shape)}"
        assert term.isfinite().all(), f"{name} is not finite"
    assert vae.sample(1).dtype == vae.log_joint(x, *guide(x).values()).dtype == torch.float64


# Checks of a pair, whichever of its parts is under test.
PAIR_CHECKS: tuple[Check, ...] = (
    shapes,
    sites_and_plate,
    gradients_are_finite,
    trains_in_stock_svi,
    training_lowers_the_loss,
    copies_are_independent,
    state_dict_round_trip,
    float64_and_a_batch_of_one,
)
#: The checks of ``check_guide``.
GUIDE_CHECKS: tuple[Check, ...] = (
    *PAIR_CHECKS,
    posterior_draws_have_its_density,
    a_datum_does_not_depend_on_its_batch,
    guide_leaves_the_model_alone,
)


def check_guide(guide: MakeGuide) -> None:
    """Check a guide on images and vectors, with two priors and two likelihoods.

    Args:
        guide: the guide's class, or a function of model and encoder that returns a guide.

    Raises:
        AssertionError: If a check fails; lists the failures.

    Example:
        >>> from pyro_vaes.guides import LowRank
        >>> check_guide(LowRank)
    """
    name = getattr(guide, "__name__", repr(guide))
    makes: list[MakePair] = [
        lambda: pair(guide, lambda: Gaussian(0.5), StandardNormal),
        lambda: pair(guide, Bernoulli, GaussianMixture, shape=(5,)),
    ]
    run_checks(name, GUIDE_CHECKS, makes)
