"""Checks of a model and its guide as a pair, of one latent or several, which apply to all parts."""

from __future__ import annotations

import copy
import io

import pyro
import torch
from pyro import poutine
from pyro.infer.enum import config_enumerate
from torch import Tensor, nn

from pyro_vaes.errors import InputError
from pyro_vaes.losses import ELBO, default_loss
from pyro_vaes.missing import hide, missing_values
from pyro_vaes.networks.evaluation_mode import evaluation_mode
from pyro_vaes.testing.pairs import (
    BATCH,
    DRAWS,
    Check,
    MakeModel,
    MakePair,
    Pair,
    agree,
    built,
    narrower_normal,
    no_inner_noise,
    run_checks,
)
from pyro_vaes.testing.training import (
    copies_are_independent,
    gradients_are_finite,
    parameters_belong_to_modules,
    training_lowers_the_loss,
    trains_in_stock_svi,
)
from pyro_vaes.traces import paired_traces, sample_sites, total
from pyro_vaes.vae import LatentVariableModel


def shapes(make: MakePair) -> None:
    """Posteriors, decoder and densities preserve the leading dimensions of x and of samples."""
    model, guide, x, _ = make()
    many, shape, sizes = (
        torch.stack([x, x.flip(0)]),
        x.shape[1:],
        dict(zip(model.sites, model.latent_dims, strict=True)),
    )
    with no_inner_noise():
        posteriors, alone = guide.posteriors(many), guide.posteriors(x.flip(0))
    assert list(posteriors) == list(sizes), f"posteriors(x) has the sites {list(posteriors)}, the model {list(sizes)}"
    for site, q in posteriors.items():
        found, expected = (tuple(q.batch_shape), tuple(q.event_shape)), ((2, BATCH), (sizes[site],))
        assert found == expected, (
            f"for x {tuple(many.shape)} the posterior of {site} has batch shape {found[0]} and event shape {found[1]}, "
            f"expected {expected[0]} and {expected[1]}: declare the latents to be one event with .to_event(1)"
        )
        point = torch.randn(sizes[site])
        torch.testing.assert_close(q.log_prob(point)[1], alone[site].log_prob(point), rtol=1e-3, atol=1e-4)
        draws = q.rsample((5,))
        assert (draws.shape, q.log_prob(draws).shape) == ((5, 2, BATCH, sizes[site]), (5, 2, BATCH))
    z = [torch.randn(5, BATCH, size) for size in sizes.values()]
    assert model.decode(*z).shape == (5, BATCH, *shape)
    assert all(model.decode_from(site, *z).shape == (5, BATCH, *shape) for site in sizes)
    log_joint = model.log_joint(x, *z)
    assert log_joint.shape == (5, BATCH)
    torch.testing.assert_close(log_joint[3], model.log_joint(x, *(each[3] for each in z)))


def samples(make: MakePair) -> None:
    """``sample_latents`` and ``sample`` have one row per draw, and the likelihood accepts what ``sample`` gives."""
    model, _, x, _ = make()
    assert [tuple(z.shape) for z in model.sample_latents(7)] == [(7, size) for size in model.latent_dims]
    assert model.sample(7).shape == (7, *model.event_shape) == (7, *x.shape[1:])
    model.likelihood.check(model.sample(7))


def sites_and_plate(make: MakePair) -> None:
    """Latents and observation "x" lie in the plate "data", and ``log_joint`` is the density of the model's trace."""
    model, guide, x, _ = make()
    latents = {*model.sites, *make().cluster_sites()}
    for particles, sizes in [(1, (BATCH,)), (3, (3, BATCH))]:
        model_trace, guide_trace = paired_traces(model, guide, x, num_particles=particles)
        assert set(model_trace.stochastic_nodes) - {"particles"} == {"data", *latents}
        assert model_trace.observation_nodes == ["x"]
        assert set(guide_trace.stochastic_nodes) - {"particles"} == {"data", *latents}
        for trace, names in ((model_trace, {*latents, "x"}), (guide_trace, latents)):
            for site in (trace.nodes[name] for name in names):
                assert site["log_prob"].shape == sizes
                assert ("data", -1, BATCH) in [(f.name, f.dim, f.size) for f in site["cond_indep_stack"]]
        drawn = sample_sites(guide_trace)
        z = {site: drawn[site]["value"] for site in model.sites}
        density = _log_density(model, x, z, particles).reshape(sizes)
        torch.testing.assert_close(density, model.log_joint(x, *z.values()))


def _log_density(model: LatentVariableModel, x: Tensor, z: dict[str, Tensor], particles: int) -> Tensor:
    """Log p(x, z) from a trace of the model at z, its discrete latents summed out."""
    conditioned = poutine.enum(config_enumerate(poutine.condition(model, data=z)), first_available_dim=-3)
    with pyro.plate("particles", particles, dim=-2):
        trace = poutine.trace(conditioned).get_trace(x)
    trace.compute_log_prob()
    density = total(site["log_prob"] for site in sample_sites(trace).values())
    return density.flatten(0, -3).logsumexp(0) if density.dim() > 2 else density


@torch.no_grad()
def evaluation_changes_nothing(make: MakePair) -> None:
    """In evaluation mode, neither model nor guide changes a weight or a buffer."""
    model, guide, x, _ = make()
    pair = nn.ModuleDict({"model": model, "guide": guide})
    before = copy.deepcopy(pair.state_dict())
    with evaluation_mode(model, guide):
        paired_traces(model, guide, x, num_particles=3)
    changed = [name for name, value in pair.state_dict().items() if not torch.equal(value, before[name])]
    assert not changed, f"evaluation changed {', '.join(changed)}: change buffers in training mode only"


def clusters_are_probabilities(make: MakePair) -> None:
    """``clusters(x)`` gives probabilities ``(B, K)`` that sum to 1, of each discrete latent of the guide at least."""
    tested = make()
    clusters = tested.guide.clusters(tested.x)
    missing = tested.cluster_sites() - clusters.keys()
    assert not missing, f"clusters(x) lacks {', '.join(sorted(missing))}"
    for name, probabilities in clusters.items():
        assert probabilities.shape[:-1] == (BATCH,), f"clusters(x) has {name} of shape {tuple(probabilities.shape)}"
        torch.testing.assert_close(probabilities.sum(-1), torch.ones(BATCH))


@torch.no_grad()
def posterior_draws_have_its_density(make: MakePair) -> None:
    """The posteriors' draws follow their densities, and these are normalized."""
    _, guide, x, _ = make()
    for q in guide.posteriors(x).values():
        agree(q, narrower_normal(q), DRAWS)


def a_datum_does_not_depend_on_its_batch(make: MakePair) -> None:
    """q(z | x) of a datum does not depend on the rest of its batch."""
    model, guide, x, _ = make()
    with no_inner_noise():
        whole, alone = guide.posteriors(x), guide.posteriors(x[1:2])
    for site, size in zip(model.sites, model.latent_dims, strict=True):
        z = torch.randn(size)
        torch.testing.assert_close(whole[site].log_prob(z)[1:2], alone[site].log_prob(z), rtol=1e-4, atol=1e-4)


def state_dict_round_trip(make: MakePair) -> None:
    """Saved weights loaded into a new pair give the same densities."""
    (model, guide, x, _), (other_model, other_guide, *_) = make(), make()
    file = io.BytesIO()
    torch.save([model.state_dict(), guide.state_dict()], file)
    file.seek(0)
    for module, state in zip((other_model, other_guide), torch.load(file, weights_only=True), strict=True):
        module.load_state_dict(state)
    z = [torch.randn(BATCH, size) for size in model.latent_dims]
    same = torch.equal(model.log_joint(x, *z), other_model.log_joint(x, *z))
    assert same, "the state dict of the model is incomplete"
    with no_inner_noise():
        pairs = zip(guide.posteriors(x).values(), other_guide.posteriors(x).values(), z, strict=True)
    same = all(torch.equal(q.log_prob(value), other.log_prob(value)) for q, other, value in pairs)
    assert same, "the state dict of the guide is incomplete"


def guide_leaves_the_model_alone(make: MakePair) -> None:
    """The guide references its model without registering the model's parameters."""
    model, guide, *_ = make()
    assert guide.vae is model
    shared = {*map(id, guide.parameters())} & {*map(id, model.parameters())}
    assert not shared, "the guide registers parameters of the model: pass the model to Guide.__init__ only"
    assert not {*guide.modules()} & {*model.modules()}, "the guide registers a module of the model"


def float64_and_a_batch_of_one(make: MakePair) -> None:
    """The pair works in float64, on one datum, with several particles."""
    model, guide, x, _ = make()
    model, guide, x = model.double(), guide.double(), x[:1].double()
    for name, term in ELBO(num_particles=2).terms(model, guide, x).items():
        assert (term.shape, term.dtype) == ((1,), torch.float64), f"{name} is {term.dtype} of shape {tuple(term.shape)}"
        assert term.isfinite().all(), f"{name} is not finite"
    assert model.sample(1).dtype == model.log_joint(x, *guide(x).values()).dtype == torch.float64


def takes_missing_values(make: MakePair) -> None:
    """With missing values, loss and gradients are finite, and neither depends on what is hidden."""
    tested = make()
    model, guide, x, loss = tested
    if not leaves_out_missing_values(model):
        return
    mask = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    with missing_values(), pyro.validation_enabled(False), torch.random.fork_rng():
        for site, q in guide.posteriors(hide(x, mask)).items():
            assert q.sample().isfinite().all(), (
                f"the posterior of {site} is not finite where values are missing: give its networks self.encode(x), "
                "which replaces them, in place of self.encoder(x)"
            )
    values = []
    for given in (x, torch.where(mask, x, model.sample(len(x)))):
        with torch.random.fork_rng():
            values.append(loss.differentiable_loss(model, guide, given, mask=mask))
    assert values[0].isfinite(), "the loss is not finite where values are missing"
    torch.testing.assert_close(*values, msg="the loss depends on values that are missing")
    values[0].backward()
    for name, parameter in tested.parameters().items():
        if parameter.grad is not None:
            assert parameter.grad.isfinite().all(), f"the gradient of {name} is not finite where values are missing"


def leaves_out_missing_values(model: LatentVariableModel) -> bool:
    """Whether the pixels of a model's likelihood are independent, so that missing ones can be left out."""
    with torch.no_grad(), missing_values():
        try:
            model.likelihood(model.features(*model.sample_latents(1)))
        except InputError:
            return False
    return True


# Checks of a pair, whichever of its parts is under test.
PAIR_CHECKS: tuple[Check, ...] = (
    shapes,
    samples,
    sites_and_plate,
    parameters_belong_to_modules,
    evaluation_changes_nothing,
    gradients_are_finite,
    takes_missing_values,
    trains_in_stock_svi,
    training_lowers_the_loss,
    copies_are_independent,
    state_dict_round_trip,
    float64_and_a_batch_of_one,
)
#: The checks of ``check_model``.
MODEL_CHECKS: tuple[Check, ...] = (
    *PAIR_CHECKS,
    posterior_draws_have_its_density,
    a_datum_does_not_depend_on_its_batch,
    clusters_are_probabilities,
    guide_leaves_the_model_alone,
)


def check_model(make: MakeModel) -> None:
    """Check a model of one latent or several together with its guide.

    Args:
        make: a function without arguments that returns a new model and its guide, of the same sizes each time.

    Raises:
        AssertionError: If a check fails; lists the failures.

    Example:
        >>> from pyro_vaes import models, networks, priors
        >>> from pyro_vaes.likelihoods import Bernoulli
        >>> def make():
        ...     decoder = networks.LadderMLPDecoder((2, 1), (5,), hidden=((8,), (8,)))
        ...     model = models.LadderVAE(decoder, [priors.StandardNormal(2), priors.StandardNormal(1)], Bernoulli())
        ...     return model, models.LadderGuide(model, networks.LadderMLPEncoder((5,), hidden=((8,), (8,))))
        >>> check_model(make)
    """

    def made() -> Pair:
        model, guide = make()
        return Pair(model, guide, model.sample(BATCH), default_loss(guide))

    run_checks(type(built(make)[0]).__name__, MODEL_CHECKS, [made])
