"""Labels beside x: a pair that is given y has the figures of the pair without on shifted data."""

import copy
import functools
import importlib

import pyro
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from torch import nn

from pyro_vaes import InputError, evaluate
from pyro_vaes.data import Data
from pyro_vaes.given import Given, accepted, bind, given_of, split, take, unbound
from pyro_vaes.losses import ELBO, IWAE
from pyro_vaes.param_store import restored_param_store
from pyro_vaes.training import cuda_graph_step
from pyro_vaes.training.cuda_graph_step import GraphStep
from pyro_vaes.training.step import EagerStep
from tests.helpers.labeled import Plain, Shifted, SometimesShifted, shifted, values, wrapped
from tests.helpers.recording import again
from tests.helpers.training import SHAPE, assert_equal, build, timeless, train, weights

N = 6


@pytest.fixture
def x():
    return torch.rand(N, *SHAPE)


@pytest.fixture
def y():
    return torch.arange(N) % 3


def seeded(function, *args, **options):
    torch.manual_seed(0)
    return function(*args, **options)


ESTIMATES = {
    "log_weights": functools.partial(evaluate.log_weights, num_samples=3),
    "log_likelihood": lambda *args, **y: evaluate.log_likelihood(*args, 30, **y).per_datum,
    "marginal_log_likelihood": lambda model, guide, x, **y: (
        evaluate.marginal_log_likelihood(model, x, guide, 100, **y).per_datum
    ),
    "inference_gaps": lambda *args, **y: evaluate.inference_gaps(*args, num_samples=5, num_steps=2, **y).best_elbo,
    "annealing": lambda model, guide, x, **y: evaluate.annealed_importance_sampling(model, x, 4, 5, **y).log_weights,
    "mutual_information": lambda *args, **y: torch.tensor(evaluate.mutual_information(*args, **y).value),
    "posterior_means": lambda model, guide, x, **y: evaluate.posterior_means(guide, x, **y)["z"],
    "reference": lambda model, guide, x, **y: evaluate.reference_posterior(model, x, 4, 3, 2, **y).draws,
    "arviz": lambda *args, **y: torch.as_tensor(evaluate.to_arviz(*args, num_samples=100, **y).posterior["z"].values),
}


@pytest.mark.parametrize("name", ESTIMATES)
def test_estimates_with_labels_are_those_of_shifted_data(name, x, y, monkeypatch):
    for module in ("log_weights", "mutual_information", "arviz_export", "annealing"):
        monkeypatch.setattr(importlib.import_module(f"pyro_vaes.evaluate.{module}"), "CHUNK_VALUES", 64)
    monkeypatch.setattr("pyro_vaes.evaluate.marginal.estimate.BLOCK_VALUES", 400)
    found = seeded(ESTIMATES[name], *wrapped(), x, y=y)
    expected = seeded(ESTIMATES[name], *wrapped(Plain), shifted(x, y))
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(seeded(ESTIMATES[name], *wrapped(Plain), x), expected, atol=1e-3)


def test_calibration_takes_the_labels_in_turn():
    like = torch.zeros(3, *SHAPE)
    found = evaluate.calibration(*wrapped(), 100, 9, like, y=torch.zeros(3)).ranks
    assert torch.equal(found, evaluate.calibration(*wrapped(Plain), 100, 9, like).ranks)
    labels = []
    model, guide = build()

    def noted(x, y):
        labels.append(y)
        return model(x)

    evaluate.calibration(noted, lambda x, y: guide(x), 100, 9, like, y=torch.arange(3))
    assert all(torch.equal(y, torch.arange(100) % 3) for y in labels)


@pytest.mark.parametrize("step", ["eager", pytest.param("compiled", marks=pytest.mark.slow)])
def test_fit_with_labels_is_fit_on_shifted_data(step):
    x, y = torch.rand(64, *SHAPE), torch.arange(64) % 3
    runs = []
    for kind, data in ((Shifted, values(x, y)), (Plain, values(shifted(x, y)))):
        pair = wrapped(kind)
        run = train(pair, data, batch_size=16, step=step)
        assert run.step.startswith(step)
        runs.append((timeless(run.history), weights(pair)))
    assert_equal(runs[0][1], runs[1][1])
    assert runs[0][0] == runs[1][0]


def test_a_recorded_step_reads_the_labels_of_each_batch(monkeypatch):
    monkeypatch.setattr(cuda_graph_step, "record", again)
    found = []
    for kind in (EagerStep, GraphStep):
        torch.manual_seed(0)
        batches = [(torch.rand(size, *SHAPE), torch.randint(3, (size,))) for size in (5, 5, 2, 5)]
        step = kind(*wrapped(), ELBO(), lr=1e-2)
        step.given = ("y",)
        with restored_param_store():
            step.prepare_for(*batches[0])
            sums = [seeded(step, *batch) for batch in batches]
        found.append([*sums, *step.weights])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_optional_labels_are_given_only_if_asked_for():
    x, y = torch.rand(64, *SHAPE), torch.arange(64) % 3
    found = {}
    for name, kind, data, options in (
        ("without", SometimesShifted, values(x, y), {}),
        ("plain", Plain, values(x), {}),
        ("with", SometimesShifted, values(x, y), {"labels": True}),
        ("shifted", Plain, values(shifted(x, y)), {}),
    ):
        pair = wrapped(kind)
        train(pair, data, epochs=1, batch_size=16, **options)
        found[name] = weights(pair)
    assert_equal(found["without"], found["plain"])
    assert_equal(found["with"], found["shifted"])


@pytest.mark.parametrize("loss", [ELBO(), IWAE(num_particles=3), Trace_ELBO()])
def test_stock_svi_takes_labels_as_the_second_argument(loss, x, y):
    after = []
    for kind, args in ((Shifted, (x, y)), (Plain, (shifted(x, y),))):
        pyro.clear_param_store()
        pair = wrapped(kind)
        svi = SVI(*pair, pyro.optim.Adam({"lr": 1e-2}), copy.deepcopy(loss))
        after.append(([float(seeded(svi.step, *args)) for _ in range(3)], weights(pair)))
    assert after[0][0] == after[1][0]
    assert_equal(after[0][1], after[1][1])


def test_a_view_shares_weights_and_its_module_is_left_as_it_was(x, y):
    model, _ = wrapped()
    view = bind(model, Given(y=y))
    assert [*view.parameters()] == [*model.parameters()]
    assert unbound(take(view, slice(2))) is model
    assert not given_of(model)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'y'"):
        model(x)


def test_batches_of_views_and_of_functions_have_their_rows(x, y):
    def function(x, y):
        return x + y

    for size, owner in ((4, wrapped()[0]), (4, function)):
        batches = list(split(size, x, bind(owner, Given(y=y)), None))
        assert [given_of(view)["y"].tolist() for _, view, _ in batches] == [[0, 1, 2, 0], [1, 2]]
        assert [len(batch) for batch, *_ in batches] == [4, 2]
    assert take(bind(function, Given(y=y)), slice(1))(5) == 5


def test_names_are_those_that_both_take():
    assert accepted(lambda x, y: ..., lambda x, y=None: ..., optional=False) == ("y",)
    assert accepted(lambda x, y=None: ..., lambda x, y=None: ..., optional=False) == ()
    assert accepted(lambda x, y=None: ..., lambda x: ...) == ()
    with pytest.raises(InputError, match="requires y, which the guide"):
        accepted(lambda x, y: ..., lambda x: ...)


@pytest.mark.parametrize(
    ("options", "kind", "expected"),
    [
        ({}, Shifted, "requires y, the labels or conditions of x: give y"),
        ({"y": torch.zeros(5)}, Shifted, "y has 5 rows for the 6 observations"),
        ({"y": torch.full((6,), torch.nan)}, Shifted, r"y\[0\] is nan"),
        ({"y": torch.zeros(6)}, Plain, "y was given, but Plain and Plain take none"),
    ],
)
def test_labels_that_do_not_fit_are_refused(options, kind, expected, x):
    with pytest.raises(InputError, match=expected):
        evaluate.log_weights(*wrapped(kind), x, 3, **options)


def test_fit_refuses_data_without_the_labels_that_the_model_requires():
    data = Data.from_arrays(x_train=torch.rand(20, *SHAPE[1:]))
    with pytest.raises(InputError, match="takes y beside x, but the data have no y: give y_train"):
        train(wrapped(), data)
    with pytest.raises(InputError, match="labels is True, but Plain and Plain take none"):
        train(wrapped(Plain), data, labels=True)


def test_modules_with_hooks_of_their_own_keep_them():
    model, called = nn.Linear(1, 1), []
    model.register_forward_pre_hook(lambda module, args: called.append(len(args)))
    bind(model, Given())(torch.zeros(1, 1))
    assert called == [1]
