"""Pairs that fit refuses before it trains, and those that it takes although they are unusual."""

import copy

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.nn import PyroModule, PyroParam
from torch import nn
from torch.distributions import constraints

from pyro_vaes import VAE
from pyro_vaes.errors import InputError
from pyro_vaes.guides import MeanField
from pyro_vaes.likelihoods import Gaussian
from pyro_vaes.losses import ELBO
from pyro_vaes.models import LadderGuide, LadderVAE
from pyro_vaes.networks import LadderMLPDecoder, LadderMLPEncoder, MLPDecoder, MLPEncoder
from pyro_vaes.priors import StandardNormal
from tests.helpers.training import DATA, SHAPE, assert_equal, build, pixels, timeless, train, weights


def refused(pair, words, data=DATA, **options):
    before = weights(pair)
    with pytest.raises(InputError, match=words) as caught:
        train(pair, data, **options)
    assert "\n" not in str(caught.value)
    assert_equal(weights(pair), before)
    assert not list(pyro.get_param_store())


class OwnGuide(nn.Module):
    """A guide of the user's own, which draws from another one."""

    def __init__(self, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.inner(x)


class Scaled(nn.Module):
    """A model around the one that the guide is built on."""

    def __init__(self, vae):
        super().__init__()
        self.vae = vae

    def forward(self, x):
        return self.vae(x)


def ladder():
    model = LadderVAE(LadderMLPDecoder((2, 1), SHAPE, ((8,), (8,))), [StandardNormal(2), StandardNormal(1)], Gaussian())
    return model, LadderGuide(model, LadderMLPEncoder(SHAPE, ((8,), (8,))))


OTHERS = {
    "another VAE": lambda: (build()[0], build()[1]),
    "copied apart": lambda: tuple(map(copy.deepcopy, build())),
    "a ladder": lambda: (ladder()[0], ladder()[1]),
    "registered in an own guide": lambda: (build()[0], OwnGuide(inner=build()[1], vae=build()[0])),
    "inside an own guide": lambda: (build()[0], OwnGuide(inner=build()[1])),
}


@pytest.mark.parametrize("case", OTHERS)
def test_a_guide_of_another_model_is_refused(case):
    refused(
        OTHERS[case](), "refers to another (Ladder)?VAE than the model.* build the guide on this model, or copy both"
    )


def test_a_guide_of_this_model_trains_also_when_copied_or_inside_another():
    copied = copy.deepcopy(build())
    vae, guide = build()
    around = Scaled(vae), OwnGuide(inner=guide)
    histories = [timeless(train(pair).history) for pair in (build(), copied)]
    assert histories[0] == histories[1]
    assert len(train(around).history) == 2


@pytest.mark.parametrize("name", ["model", "guide"])
def test_what_is_no_module_is_refused(name):
    vae, guide = build()
    pair = (vae.forward, guide) if name == "model" else (vae, guide.forward)
    with pytest.raises(InputError, match=f"{name} is a method: fit trains torch modules"):
        train(pair)


class Prior(StandardNormal):
    def forward(self):
        return dist.Normal(pyro.param("loc", torch.zeros(2)), 1.0).to_event(1)


class Likelihood(Gaussian):
    def forward(self, features):
        scale = pyro.param("net.scale", torch.tensor(0.5), constraint=constraints.positive)
        return self.to_event(dist.Normal(features, scale))


class Shifted(MLPDecoder):
    def forward(self, z):
        return super().forward(z) + pyro.param("loc", lambda: torch.tensor(0.1))


class Constrained(PyroModule):
    """A decoder with a parameter of Pyro's kind."""

    def __init__(self, constraint=constraints.positive):
        super().__init__()
        self.net = MLPDecoder(2, SHAPE, (8,))
        self.loc = PyroParam(torch.tensor(0.5), constraint)

    def forward(self, z):
        return self.net(z) + self.loc


class Guide(MeanField):
    def posterior(self, x):
        q = super().posterior(x)
        return dist.Normal(q.mean, pyro.param("scale", torch.ones(2), constraint=constraints.positive)).to_event(1)


def of_parts(decoder=None, prior=StandardNormal, likelihood=Gaussian, guide=MeanField):
    vae = VAE(decoder or MLPDecoder(2, SHAPE, (8,)), prior(2), likelihood())
    return vae, guide(vae, MLPEncoder(SHAPE, (8,)))


STORED = {
    "prior": (lambda: of_parts(prior=Prior), "loc"),
    "likelihood": (lambda: of_parts(likelihood=Likelihood), "scale"),
    "decoder": (lambda: of_parts(Shifted(2, SHAPE, (8,))), "loc"),
    "guide": (lambda: of_parts(guide=Guide), "scale"),
    "PyroParam": (lambda: of_parts(Constrained()), "loc"),
    "real PyroParam": (lambda: of_parts(Constrained(constraints.real)), "loc"),
}


@pytest.mark.parametrize("part", STORED)
@pytest.mark.parametrize("known", [False, True], ids=["new", "in the store"])
def test_parameters_of_the_store_alone_are_refused(part, known):
    make, name = STORED[part]
    pair = make()
    if known:
        with torch.no_grad():
            pair[0](DATA.train.x[:2]), pair[1](DATA.train.x[:2])
    before = list(pyro.get_param_store())
    with pytest.raises(InputError, match=rf"'.*{name}' belongs to Pyro's .* write self\.{name} = nn\.Parameter"):
        train(pair)
    assert list(pyro.get_param_store()) == before


class Registering(nn.Module):
    """A model whose modules are Pyro's, and whose parameters are registered by name and read from the store."""

    def __init__(self):
        super().__init__()
        self.net = PyroModule[nn.Linear](2, 16)
        self.shift = nn.Parameter(torch.zeros(16))

    def forward(self, x):
        pyro.module("net", self.net)
        shift = pyro.param("shift", self.shift)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), 2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.net(z) + shift, 0.5).to_event(1), obs=x.flatten(1))


class Encoding(PyroModule):
    def __init__(self):
        super().__init__()
        self.net = PyroModule[nn.Linear](16, 4)

    def forward(self, x):
        with pyro.plate("data", len(x)):
            mean, scale = self.net(x.flatten(1)).chunk(2, -1)
            pyro.sample("z", dist.Normal(mean, scale.exp()).to_event(1))


def test_registered_parameters_train_whatever_the_store_holds_by_their_names():
    torch.manual_seed(0)
    first = Registering(), Encoding()
    second = copy.deepcopy(first)
    expected = train(first)
    for module in (Registering(), Encoding()):
        module(DATA.train.x)
    held = {name: value.detach().clone() for name, value in pyro.get_param_store().items()}
    before = weights(second)
    assert timeless(train(second).history) == timeless(expected.history)
    assert_equal(weights(second), weights(first))
    assert not [name for name, value in weights(second).items() if torch.equal(value, before[name])]
    assert_equal(dict(pyro.get_param_store().items()), held)


def test_float64_weights_train_in_float64(tmp_path):
    single, double = build(), tuple(module.double() for module in build())
    types, loss = set(), ELBO()
    objective = loss.objective
    loss.objective = lambda model, guide, x: types.add(x.dtype) or objective(model, guide, x)
    expected = train(single, epochs=1).history
    found = train(double, loss=loss, epochs=1, out=tmp_path).history
    assert types == {torch.float64}
    assert found[0]["train_elbo"] == pytest.approx(expected[0]["train_elbo"], abs=2)  # of other noise
    assert len(train(double, epochs=2, out=tmp_path, resume=True).history) == 2
    assert {value.dtype for value in double[0].parameters()} == {torch.float64}


@pytest.mark.parametrize(
    ("types", "words"),
    [
        ((torch.float64, torch.float32), "weights of model and guide are float32 and float64: .* call .float"),
        ((torch.bfloat16, torch.bfloat16), "weights of model and guide are bfloat16: .* precision='bfloat16'"),
        ((torch.float32, torch.float16), "weights of model and guide are float16 and float32"),
    ],
)
def test_weights_of_other_types_are_refused(types, words):
    refused(tuple(module.to(each) for module, each in zip(build(), types, strict=True)), words)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, lambda: torch.set_grad_enabled(False)])
def test_fit_trains_inside_a_mode_without_gradients(mode):
    expected, pair = build(), build()
    train(expected)
    with mode():
        run = train(pair, type(DATA).from_arrays(x_train=pixels(), x_test=pixels(20)))
        assert not torch.is_grad_enabled()
    assert len(run.history) == 2
    assert_equal(weights(pair), weights(expected))


def test_weights_made_in_inference_mode_are_refused():
    with torch.inference_mode():
        pair = build()
    with pytest.raises(InputError, match=r"made inside torch\.inference_mode"):
        train(pair)
