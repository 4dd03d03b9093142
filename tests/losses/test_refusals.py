"""Models and guides whose ELBO would be wrong are refused."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_vaes.errors import InputError
from pyro_vaes.losses import ELBO
from tests.helpers.losses import SHAPE, build


def outside_the_plate(x):
    return pyro.sample("z", dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(1))


def plate_of_another_size(x):
    with pyro.plate("data", 1):
        return pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))


def another_name(x):
    with pyro.plate("data", len(x)):
        return pyro.sample("latent", dist.Normal(torch.zeros(2), 1.0).to_event(1))


def no_reparameterised_draw(x):
    mixture = dist.MixtureSameFamily(dist.Categorical(torch.ones(3)), dist.Normal(torch.randn(3, 2), 1.0).to_event(1))
    with pyro.plate("data", len(x)):
        return pyro.sample("z", mixture)


@pytest.mark.parametrize("particles", [1, 3])
@pytest.mark.parametrize(
    ("guide", "words"),
    [
        (outside_the_plate, "guide's site 'z' does not lie inside a plate over the 3 observations"),
        (plate_of_another_size, "guide's site 'z' does not lie inside a plate over the 3 observations"),
        (another_name, r"model's latents are \['z'\], but the guide samples \['latent'\]"),
        (no_reparameterised_draw, "site 'z' samples MixtureSameFamily, which has no reparameterized"),
    ],
)
def test_guides_whose_loss_would_be_wrong_are_refused(guide, words, particles):
    vae, _, x = build()
    with pytest.raises(InputError, match=words):
        ELBO(num_particles=particles).terms(vae, guide, x)


def test_an_observation_outside_the_plate_is_refused():
    vae, guide, x = build()

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", vae.prior())
        pyro.sample("x", vae.likelihood(vae.decoder(z)), obs=x)

    with pytest.raises(InputError, match="model's site 'x' does not lie inside a plate"):
        ELBO().terms(model, guide, x)


@pytest.mark.parametrize("event_dim", [1, 2])
def test_an_image_declared_a_smaller_event_is_refused(event_dim):
    vae, guide, _ = build()
    size = SHAPE[-1]  # a batch as long as the picture is wide is what hides the mistake from Pyro

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", vae.prior())
            pyro.sample("x", dist.Normal(vae.decoder(z), 1.0).to_event(event_dim), obs=x)

    with pytest.raises(InputError, match=r"site 'x' has log-densities of shape .*to_event\(3\)"):
        ELBO().terms(model, guide, torch.rand(size, *SHAPE))


@pytest.mark.parametrize("number", [0, -1, 1.5, True])
def test_a_number_of_draws_is_one_or_more(number):
    with pytest.raises(InputError, match=f"num_particles is {number}"):
        ELBO(num_particles=number)
