"""Options of named parts and settings: near names, missing ones, and values of another type."""

import pytest

from pyro_vaes import Guide
from pyro_vaes.errors import InputError
from pyro_vaes.likelihoods import Likelihood
from pyro_vaes.recipes import Settings, vae
from pyro_vaes.recipes.build import build_encoder, build_guide, build_likelihood, build_loss, build_prior, build_vae
from pyro_vaes.recipes.build import load_data as load
from pyro_vaes.recipes.options import apply_options

SHAPE = (1, 8, 8)
BUILD = {
    "guide": lambda text: build_guide(text, build_vae(SHAPE, Settings()), SHAPE, Settings()),
    "prior": lambda text: build_prior(text, latent_dim=16),
    "likelihood": lambda text: build_likelihood(SHAPE, Settings(likelihood=text)),
    "loss": lambda text: build_loss(None, Settings(loss=text)),
    "network": lambda text: build_encoder(SHAPE, Settings(network=text)),
}
REFUSED = [
    ("guide", "laplace(update=1)", "laplace has no option 'update': did you mean 'updates'? Its options: updates=4,"),
    ("guide", "mixture(component=1)", "did you mean 'components'? Its options: components=4"),
    ("guide", "mean-field(rank=1)", "mean-field has no option 'rank'. It takes none"),
    ("guide", "laplace(encoder=1)", "laplace has no option 'encoder'. Its options: updates=4,"),
    ("prior", "vamp-prior(componets=2)", "did you mean 'components'?"),
    ("likelihood", "pixelcnn(chanels=3)", "did you mean 'channels'? Its options: features=4, num_bins=2,"),
    ("likelihood", "pixelcnn(event_shape=(1, 2, 3))", "has no option 'event_shape'"),
    ("loss", "free-bits(totl=3)", "did you mean 'total'?"),
    ("network", "conv(activation='relu')", "has no option 'activation'. Its options: hidden=256"),
    ("prior", "convolutional-flow", "needs event_shape: write, for example, convolutional-flow(event_shape=(1, 4, 4))"),
    ("prior", "convolutional-flow(flows=2)", "convolutional-flow(event_shape=(1, 4, 4), flows=2)"),
    ("loss", "soft-free-bits", "soft-free-bits needs target: write, for example, soft-free-bits(target=0.5)"),
    ("loss", "progressive-elbo()", "progressive-elbo(steps=2)"),
    ("guide", "laplace(updates='a')", "guide laplace: updates is 'a': expected a whole number"),
    ("guide", "laplace(detach=1)", "detach is 1: expected True or False"),
    ("guide", "inverse-autoregressive-flow(hidden=8)", "hidden is 8: expected a tuple such as (8, 8)"),
    ("prior", "gaussian-mixture(components=2.5)", "components is 2.5: expected a whole number"),
    ("prior", "autoregressive-flow(transform='afine')", "unknown transform 'afine': did you mean 'affine'?"),
    ("prior", "autoregressive-flow(transform=1)", "transform is 1: expected 'mean' or 'affine' or 'gated'"),
    ("likelihood", "gaussian(scale='a')", "scale is 'a': expected a number or None"),
    ("likelihood", "pixelcnn(window=(1, 'a'))", "window is (1, 'a'): expected a tuple such as (8, 8) or None"),
    ("loss", "elbo(beta=None)", "beta is None: expected a number"),
    ("network", "conv(hidden='a')", "hidden is 'a': expected a whole number"),
]


@pytest.mark.parametrize(("kind", "text", "words"), REFUSED, ids=[text for _, text, _ in REFUSED])
def test_an_option_is_refused_by_its_name(kind, text, words):
    with pytest.raises(InputError) as caught:
        BUILD[kind](text)
    assert str(caught.value).startswith((f"{kind} {text.partition('(')[0]}", "unknown transform"))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("guide", "laplace(updates=1, step_size=1)"),
        ("prior", "convolutional-flow(event_shape=(1, 4, 4))"),
        ("likelihood", "gaussian(scale=1)"),
        ("likelihood", "gaussian(scale=None)"),
        ("likelihood", "pixelcnn(window=[2, 1], features=2, layers=2)"),
        ("loss", "elbo(beta=2)"),
        ("network", "mlp()"),
    ],
)
def test_what_examples_say_can_be_built(kind, text):
    assert BUILD[kind](text) is not None


def test_options_of_a_likelihood_are_checked_before_data_are_loaded():
    with pytest.raises(InputError, match="has no option 'num_bin': did you mean 'num_bins'"):
        load(Settings(data="no-such-data", likelihood="discretized-logistic(num_bin=5)"))


class Own(Likelihood):
    """A likelihood with an option that has no default."""

    def __init__(self, width):
        super().__init__()


class OfSize(Own):
    """A likelihood whose ``build`` gives the option."""

    @classmethod
    def build(cls, event_shape, **options):
        return cls(event_shape[0], **options)


class Passing(Guide):
    """A guide that hands its options on."""

    def __init__(self, vae, encoder, **options):
        super().__init__(vae, encoder, **options)


def test_options_of_a_part_of_ones_own():
    with pytest.raises(InputError, match=r"likelihood own:Own needs width: write, for example, own:Own\(width=...\)"):
        apply_options("likelihood", "own:Own", Own.build, SHAPE)
    assert isinstance(apply_options("likelihood", "own:Own(width=2)", Own.build, SHAPE, width=2), Own)
    assert isinstance(apply_options("likelihood", "own:OfSize", OfSize.build, SHAPE), OfSize)
    pair = build_vae(SHAPE, Settings()), build_encoder(SHAPE, Settings())
    assert apply_options("guide", "own:Passing", Passing, *pair, outputs=3).head.out_features == 3
    with pytest.raises(InputError, match="guide own:Passing has no option 'output': did you mean 'outputs'"):
        apply_options("guide", "own:Passing(output=3)", Passing, *pair, output=3)


@pytest.mark.parametrize(
    "given",
    [
        lambda: vae(SHAPE, latent_dims=2),
        lambda: Settings().updated({"latent_dims": 2}),
        lambda: Settings.from_config({"recipe": "vae", "latent_dims": 2}),
    ],
    ids=["recipe", "updated", "config"],
)
def test_a_setting_is_refused_by_its_name(given):
    with pytest.raises(InputError, match=r"'latent_dims'.* did you mean 'latent_dim'"):
        given()


def test_a_config_may_say_more():
    assert Settings.from_config({"recipe": "vae", "out": "run", "seed": 3, "seeds": 2}).seed == 3
