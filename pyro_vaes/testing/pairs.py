"""A small model, guide and batch built from given parts, and the runner of checks on them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar
from unittest import mock

import pyro
import torch
from pyro import poutine
from pyro.distributions import MultivariateNormal
from torch import Tensor, nn

from pyro_vaes.guides import MeanField
from pyro_vaes.likelihoods import Bernoulli, Likelihood
from pyro_vaes.losses import Loss, default_loss
from pyro_vaes.networks import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder
from pyro_vaes.priors import Prior, StandardNormal
from pyro_vaes.traces import sample_sites
from pyro_vaes.vae import VAE, Guide, LatentVariableModel

T = TypeVar("T")

#: Size of the latent in checks.
LATENT_DIM = 3
BATCH = 4
DRAWS = 50_000  # that tell a density off by a tenth, one of splines as well
SEED = 0
NETWORKS: dict[str, tuple[Callable[..., nn.Module], Callable[..., nn.Module]]] = {
    "mlp": (
        lambda shape: MLPDecoder(LATENT_DIM, shape, hidden=(16,)),
        lambda shape: MLPEncoder(shape, hidden=(16,)),
    ),
    "conv": (
        lambda shape: ConvDecoder(LATENT_DIM, shape, channels=(8, 8), hidden=16),
        lambda shape: ConvEncoder(shape, channels=(8, 8), hidden=16),
    ),
}

MakeGuide = Callable[[VAE, nn.Module], Guide]
MakeLikelihood = type[Likelihood] | Callable[[], Likelihood]
MakeLoss = Callable[[], Loss]
MakePrior = Callable[[int], Prior]
MakeModel = Callable[[], tuple[LatentVariableModel, Guide]]


class Pair(NamedTuple):
    """A model, its guide, a batch from the model, and the training loss."""

    model: LatentVariableModel
    guide: Guide
    x: Tensor
    loss: Loss

    def parameters(self) -> dict[str, nn.Parameter]:
        """All trainable parameters by name, without those of a guide with ``detach``, which are not trained."""
        detached = getattr(self.guide, "detach", False)
        own = () if detached else self.guide.named_parameters(prefix="guide")
        named = (*self.model.named_parameters(prefix="model"), *own)
        return {name: parameter for name, parameter in named if parameter.requires_grad}

    def snapshot(self) -> dict[str, Tensor]:
        """Current values of the parameters."""
        return {name: parameter.detach().clone() for name, parameter in self.parameters().items()}

    def moved(self, before: dict[str, Tensor]) -> set[str]:
        """Names of the parameters that differ from a snapshot."""
        return {name for name, parameter in self.parameters().items() if not torch.equal(parameter, before[name])}

    def cluster_sites(self) -> set[str]:
        """Names of the guide's discrete latents."""
        sites = sample_sites(poutine.trace(self.guide).get_trace(self.x))
        return {name for name, site in sites.items() if site["fn"].has_enumerate_support}


MakePair = Callable[[], Pair]
#: A check: a function of a pair's constructor, whose docstring states the property.
Check = Callable[[MakePair], None]


def pair(
    guide: MakeGuide = MeanField,
    likelihood: MakeLikelihood = Bernoulli,
    prior: MakePrior = StandardNormal,
    shape: Sequence[int] = (1, 8, 8),
    network: str = "mlp",
    loss: MakeLoss | None = None,
) -> Pair:
    """A small pair built from given parts, with a batch drawn from its model.

    Args:
        guide: a guide's class, or a function of model and encoder.
        likelihood: a likelihood's class, of which ``build(shape)`` is called, or a function without arguments.
        prior: a prior's class, or a function of the latent size.
        shape: shape of one datum.
        network: ``"mlp"`` or ``"conv"``.
        loss: a loss's class, or a function without arguments; by default the guide's own loss.

    Example:
        >>> from pyro_vaes.guides import LowRank
        >>> pair(LowRank).guide.posterior(torch.zeros(2, 1, 8, 8)).event_shape
        torch.Size([3])
    """
    decoder, encoder = NETWORKS[network]
    made = of_shape(likelihood, shape)
    model = VAE(decoder(made.features_shape or shape), prior(LATENT_DIM), made)
    chosen = guide(model, encoder(shape))
    assert_one_event(model.prior(), LATENT_DIM)  # before the plate of a draw, where Pyro refuses it in its own words
    return Pair(model, chosen, model.sample(BATCH), loss() if loss else default_loss(chosen))


def of_shape(likelihood: MakeLikelihood, shape: Sequence[int]) -> Likelihood:
    """The likelihood that a class builds for data of a shape, or that a function returns."""
    build = getattr(likelihood, "build", None)
    return build(shape) if build else likelihood()


def assert_one_event(p: pyro.distributions.TorchDistribution, size: int) -> None:
    """Assert that a prior is one event of the latent's size."""
    assert (tuple(p.batch_shape), tuple(p.event_shape)) == ((), (size,)), (
        f"the prior has batch shape {tuple(p.batch_shape)} and event shape {tuple(p.event_shape)}, expected () and "
        f"({size},): declare the latents to be one event with .to_event(1)"
    )


def built(make: Callable[[], T]) -> T:
    """Call a function that builds a part.

    Raises:
        AssertionError: If it raises anything.
    """
    try:
        return make()
    except Exception as error:  # the user's code may raise any exception
        raise AssertionError(f"it cannot be built: {type(error).__name__}: {error}") from error


def run_checks(name: str, checks: Sequence[Check], makes: Sequence[MakePair]) -> None:
    """Run every check on every pair with a fixed seed, without changes of global state.

    Raises:
        AssertionError: If a check fails; lists the failures.
    """
    failures = {}
    for check in checks:
        for make in makes:
            try:
                with _isolated():
                    check(make)
            except Exception as error:  # the user's code may raise any exception
                failures[check.__name__] = f"{type(error).__name__}: {error}"
                break
    if failures:
        report = "\n".join(f"- {check}: {message}" for check, message in failures.items())
        raise AssertionError(f"{name} breaks its contract in {len(failures)} of {len(checks)} checks:\n{report}")


@contextlib.contextmanager
def _isolated() -> Iterator[None]:
    store = pyro.get_param_store()
    with torch.random.fork_rng([]), store.scope():
        torch.manual_seed(SEED)
        yield


def no_inner_noise() -> contextlib.AbstractContextManager[object]:
    """Context manager that sets a guide's internal noise to 0, which makes its posterior deterministic."""
    return mock.patch.object(torch, "randn_like", torch.zeros_like)


def agree(p: pyro.distributions.TorchDistribution, other: pyro.distributions.TorchDistribution, draws: int) -> None:
    """Assert that draws and density of p agree: E_p[r / (p + r)] = E_r[p / (p + r)] for the density r of another.

    Both are means of values in [0, 1], so that they have a standard error wherever r lies, where p is tiny as well;
    they are to agree within 5 of them.

    References:
        Simulating ratios of normalizing constants via a simple identity (Meng, Wong, 1996).
    """
    z, y = p.sample((draws,)), other.sample((draws,))
    of_draws = torch.sigmoid(other.log_prob(z) - p.log_prob(z))
    of_density = torch.sigmoid(p.log_prob(y) - other.log_prob(y))
    error = (of_draws.mean(0) - of_density.mean(0)).abs()
    standard_error = ((of_draws.var(0) + of_density.var(0)) / draws).sqrt()
    worst = (error - 5 * standard_error).argmax()
    found, expected = (each.mean(0).flatten()[worst] for each in (of_draws, of_density))
    assert (error <= 5 * standard_error).all(), (
        f"draws and log_prob disagree: E_p[r / (p + r)] is {found:.4g} from draws of p, but E_r[p / (p + r)] from its "
        f"density {expected:.4g}, for another density r: they are equal if log_prob is the normalized density of draws"
    )


def narrower_normal(p: pyro.distributions.TorchDistribution) -> MultivariateNormal:
    """The normal distribution with the mean and half the covariance of draws of p, for `agree`."""
    z = p.sample((5000,))
    deviation = z - z.mean(0)
    return MultivariateNormal(z.mean(0), 0.5 * torch.einsum("n...i, n...j -> ...ij", deviation, deviation) / len(z))
