"""The parts of a system from their specifications in the settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import nn

from pyro_vaes import guides, likelihoods, losses, networks, priors
from pyro_vaes.data import Data, hide_labels, load
from pyro_vaes.data.binary_sets import BINARY_SETS
from pyro_vaes.errors import InputError, look_up
from pyro_vaes.given import bind
from pyro_vaes.likelihoods import Likelihood
from pyro_vaes.losses import ExponentialWarmup, Loss, default_loss
from pyro_vaes.priors import Prior
from pyro_vaes.recipes.kinds import check_kind, needed_kind
from pyro_vaes.recipes.options import apply_options, check_options, errors_of
from pyro_vaes.recipes.recipe import Guide_co, Model_co, System
from pyro_vaes.recipes.spec import instantiate, parse, resolve
from pyro_vaes.settings import Settings
from pyro_vaes.vae import VAE, Guide
from pyro_vaes.validation import check_seed, check_whole

Built = TypeVar("Built")
Networks = dict[str, tuple[Callable[..., nn.Module], Callable[..., nn.Module]]]


NETWORKS: Networks = {
    "mlp": (networks.MLPEncoder, networks.MLPDecoder),
    "mlp-kaiming-head": (networks.KaimingHeadMLPEncoder, networks.MLPDecoder),
    "conv": (networks.ConvEncoder, networks.ConvDecoder),
    "resnet": (networks.ResNetEncoder, networks.ResNetDecoder),
    "resnet-linear": (
        networks.ResNetEncoder,
        lambda latent_dim, event_shape, hidden: networks.LinearDecoder(latent_dim, event_shape),
    ),
    "densenet": (networks.DenseNetEncoder, networks.DenseNetDecoder),
}


def build_vae(event_shape: Sequence[int], settings: Settings) -> VAE:
    """The plain VAE of some settings.

    Raises:
        InputError: If a size, network, likelihood or prior does not exist.

    Example:
        >>> build_vae((1, 8, 8), Settings(latent_dim=2)).latent_dim
        2
    """
    likelihood = build_likelihood(event_shape, settings)
    decoder = build_decoder(features_shape(likelihood, event_shape), settings)
    return VAE(decoder, build_prior(settings.prior, settings.size), likelihood)


def build_guide(
    made: str | Callable[[VAE, nn.Module], Guide], vae: VAE, event_shape: Sequence[int], settings: Settings
) -> Guide:
    """The guide of a name with options, such as ``laplace(updates=1)``, or what a class makes of model and encoder.

    Raises:
        InputError: If guide or option does not exist, or the model's prior cannot be made of the guide.

    Example:
        >>> build_guide("laplace(updates=1)", build_vae((1, 8, 8), Settings()), (1, 8, 8), Settings()).updates
        1
    """
    encoder = build_encoder(event_shape, settings)
    guide = instantiate("guide", guides, Guide, made, vae, encoder) if isinstance(made, str) else made(vae, encoder)
    bind(vae, vae.example_given()).prior()  # a prior that is made of the guide says here whether it can be
    return guide


def build_encoder(event_shape: Sequence[int], settings: Settings, known: Networks = NETWORKS) -> nn.Module:
    """The encoder of some settings, of noisy images in training if they say so.

    Raises:
        InputError: If the data that are to be noisy are no pixels in [0, 1].
    """
    encoder = build_network(0, settings, known, event_shape, settings.hidden)
    if not settings.denoise:
        return encoder
    kind = settings.kind or needed_kind(resolve("likelihood", likelihoods, Likelihood, settings.likelihood)[0])
    if kind != "pixels" or settings.center or settings.logit:
        raise InputError(
            "denoise is for pixels in [0, 1], but the data are "
            f"{'pixels under center or logit' if kind == 'pixels' else kind}: leave one of them out (command line: "
            "--no-denoise)"
        )
    return networks.NoisyInput(encoder)


def build_decoder(features_shape: Sequence[int], settings: Settings) -> nn.Module:
    """The decoder of some settings, from the latent, or the lowest of several."""
    hidden = tuple(reversed(settings.hidden))
    return build_network(1, settings, NETWORKS, settings.latent_dims[0], features_shape, hidden)


def build_network(which: int, settings: Settings, known: Networks, *args: Any, **own: Any) -> nn.Module:
    """The encoder (0) or decoder (1) of a kind of networks, from its name with options, with batch norm if asked for.

    Raises:
        InputError: If the kind or an option is unknown.
    """
    name, options = parse(settings.network)
    make = look_up("network", name, known)[which]
    made: nn.Module = apply_options("network", settings.network, make, *args, **{**own, **options})
    if settings.batch_norm:
        networks.batch_normalize(made)
    return made


def build_likelihood(event_shape: Sequence[int], settings: Settings) -> Likelihood:
    """The likelihood of some settings, for data of a shape."""
    found, options = resolve("likelihood", likelihoods, Likelihood, settings.likelihood)
    return apply_options("likelihood", settings.likelihood, found.build, event_shape, **options)


def features_shape(likelihood: Likelihood, event_shape: Sequence[int]) -> Sequence[int]:
    """Shape of the features that a decoder of such data has to give."""
    return likelihood.features_shape or event_shape


def build_prior(text: str, latent_dim: int) -> Prior:
    """The prior of a name with options, such as ``gaussian-mixture(components=5)``."""
    return instantiate("prior", priors, Prior, text, latent_dim)


def build_loss(guide: nn.Module, settings: Settings) -> Loss:
    """The loss of some settings, the guide's own unless they name another, with the KL's warm-up if there is one.

    Raises:
        InputError: If the loss or an option is unknown, or a warm-up is set and the loss has no weight on its KL.

    Example:
        >>> build_loss(nn.Identity(), Settings(loss="elbo(num_particles=2)", warmup=100)).beta(100)
        0.6321205588285577
    """
    loss = default_loss(guide) if settings.loss is None else instantiate("loss", losses, Loss, settings.loss)
    check_whole("warmup", settings.warmup, least=0)
    if settings.warmup:
        if not hasattr(loss, "beta"):
            raise InputError(
                f"warmup is {settings.warmup}, but {type(loss).__name__} has no weight on its KL: leave it out"
            )
        loss.beta = ExponentialWarmup(settings.warmup)
    return loss


def build_seeded(
    recipe: Callable[[Sequence[int], Settings], System[Model_co, Guide_co]],
    event_shape: Sequence[int],
    settings: Settings,
    seed: int,
) -> System[Model_co, Guide_co]:
    """The system of a recipe, with initial weights that depend on the seed alone; the random state is left as it was.

    Recipes build the model first, so that its initial weights are the same under every guide.

    Raises:
        InputError: If settings or seed cannot be used.

    Example:
        >>> from pyro_vaes.recipes import laplace, vae
        >>> first, second = (build_seeded(recipe, (4,), Settings(), seed=0).model for recipe in (vae, laplace))
        >>> all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters()))
        True
    """
    return seeded_build(lambda: recipe(event_shape, settings), seed)


def seeded_build(build: Callable[[], Built], seed: int) -> Built:
    """Call a function that builds something under a seed; the random state is left as it was.

    Raises:
        InputError: If the seed cannot be used, or no memory holds what is built.
    """
    check_seed(seed)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        try:
            return build()
        except (RuntimeError, MemoryError, OverflowError) as error:  # such as a size that no memory holds
            raise InputError(f"no system can be made of these settings: {error}") from error


def load_data(settings: Settings, download: bool = True) -> Data:
    """The data of some settings, the same in every run; unless told otherwise, prepared as the likelihood needs them.

    With ``labels``, the seed says which training examples keep theirs.

    Raises:
        InputError: If data or likelihood do not exist or cannot be used, or are of different kinds.
    """
    chosen = data_requirements(settings)
    chosen |= {name: getattr(settings, name) for name in ("train_size", "channels", "num_bins", "center", "logit")}
    data = load(settings.data, settings.data_root, download=download, **chosen)
    return data if settings.labels is None else hide_labels(data, settings.labels, settings.seed)


def data_requirements(settings: Settings) -> dict[str, Any]:
    """The kind of data and the preprocessing, as arguments of ``data.load``, that the likelihood of settings needs.

    Raises:
        InputError: If the likelihood does not exist, or is for another kind of data than the settings say.

    Example:
        >>> data_requirements(Settings(likelihood="bernoulli"))
        {'kind': 'pixels', 'binarize': 'dynamic'}
    """
    found, options = resolve("likelihood", likelihoods, Likelihood, settings.likelihood)
    check_options("likelihood", settings.likelihood, found.build, 1, options)
    kind = settings.kind or needed_kind(found)
    check_kind(found, kind)
    chosen: dict[str, Any] = {"kind": kind, "binarize": None}
    if kind == "pixels":
        with errors_of("likelihood", settings.likelihood):
            chosen |= found.required_preprocessing(**options)
    if settings.binarize or settings.data in BINARY_SETS:
        chosen["binarize"] = settings.binarize
    return chosen
