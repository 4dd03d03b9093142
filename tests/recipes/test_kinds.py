"""Likelihoods and kinds of data: every match is taken, and every mismatch refused with the right likelihood named."""

import itertools

import numpy as np
import pytest

from pyro_vaes import VAE, compare, fit, guides, likelihoods, networks, priors
from pyro_vaes.data import Data
from pyro_vaes.data.kinds import KINDS
from pyro_vaes.errors import InputError
from pyro_vaes.likelihoods import Likelihood
from pyro_vaes.recipes import Settings, build_vae, load_data
from pyro_vaes.recipes.kinds import check_kind
from pyro_vaes.recipes.spec import registry

LIKELIHOODS = {name: each for name, each in registry(likelihoods, Likelihood).items() if "pixel-cnn" not in name}
CASES = list(itertools.product(LIKELIHOODS, KINDS))
RIGHT = {"pixels": "Gaussian", "binary": "Bernoulli", "counts": "Poisson", "values": "StudentT"}
ARRAYS = {
    "pixels": np.random.default_rng(0).random((30, 4)),
    "binary": np.eye(30, 4),
    "counts": np.random.default_rng(0).poisson(3.0, (30, 4)),
    "values": np.random.default_rng(0).normal(50, 9, (30, 4)),
}


@pytest.fixture
def files(tmp_path):
    """A file of each kind."""
    for kind, x in ARRAYS.items():
        np.save(tmp_path / f"{kind}.npy", x)
    return tmp_path


def model_of(name):
    likelihood = LIKELIHOODS[name].build((4,))
    decoder = networks.MLPDecoder(2, likelihood.features_shape or (4,), hidden=(4,))
    return VAE(decoder, priors.StandardNormal(2), likelihood)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_mismatch_names_the_right_likelihood(files, name, kind):
    settings = Settings(data=str(files / f"{kind}.npy"), kind=kind, likelihood=name, latent_dim=2)
    if kind in LIKELIHOODS[name].kinds:
        data = load_data(settings)
        assert data.kind == kind
        if name not in ("discretized-logistic", "categorical"):  # these have gray levels of their own
            build_vae(data.event_shape, settings).likelihood.check(data.train.x)
        return
    words = rf"{LIKELIHOODS[name].__name__} is for data of kind .*, but these are {kind}: take .*{RIGHT[kind]}"
    with pytest.raises(InputError, match=words):
        load_data(settings)
    model = model_of(name)
    data = Data.from_arrays(x_train=ARRAYS[kind], kind=kind)
    with pytest.raises(InputError, match=words):
        fit(model, guides.MeanField(model, networks.MLPEncoder((4,), hidden=(4,))), data, epochs=1, device="cpu")


def test_a_comparison_refuses_a_mismatch_before_it_writes(tmp_path):
    data = Data.from_arrays(x_train=ARRAYS["counts"], kind="counts")
    with pytest.raises(InputError, match="Gaussian is for data of kind pixels or values, but these are counts"):
        compare(data, ["mean-field"], Settings(latent_dim=2), [0], tmp_path / "report", progress=False)
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(("name", "kind"), [("poisson", "counts"), ("standardized", "values"), ("bernoulli", "pixels")])
def test_the_kind_is_by_default_the_one_that_the_likelihood_needs(files, name, kind):
    assert load_data(Settings(data=str(files / f"{kind}.npy"), likelihood=name)).kind == kind


def test_a_likelihood_that_names_no_kind_takes_any():
    class Mine(Likelihood):
        """It says nothing about kinds."""

    for kind in KINDS:
        check_kind(Mine(), kind)
    with pytest.raises(InputError, match="unknown kind of data 'count': did you mean 'counts'"):
        check_kind(Mine, "count")
