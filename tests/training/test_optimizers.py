"""Every optimizer of torch by name: the steps of torch's own loop, resumed to the bit, and started again."""

from functools import partial

import pytest
import torch
import yaml
from torch import nn

from pyro_vaes.errors import InputError
from pyro_vaes.losses import ELBO
from pyro_vaes.reports.compare import compare
from pyro_vaes.runs.folder import RunFolder
from pyro_vaes.settings import Settings
from pyro_vaes.training.optimizers import OPTIMIZERS, UNFIT, build_optimizer
from pyro_vaes.training.step import EagerStep
from tests.helpers.training import (
    ALWAYS,
    DATA,
    SHAPE,
    STEPS,
    assert_equal,
    assert_same,
    at_step,
    build,
    interrupt,
    timeless,
    train,
    weights,
)

LR = 1e-2
WITH_OPTIONS = {
    "adam(betas=(0.5, 0.9), weight_decay=0.1)": partial(torch.optim.Adam, betas=(0.5, 0.9), weight_decay=0.1),
    "adam(amsgrad=True)": partial(torch.optim.Adam, amsgrad=True),
    "AdamW(weight_decay=0.1)": partial(torch.optim.AdamW, weight_decay=0.1),
    "adam-w": torch.optim.AdamW,
    "sgd(momentum=0.9, nesterov=True)": partial(torch.optim.SGD, momentum=0.9, nesterov=True),
    "sgd(momentum=0.9, dampening=0.5)": partial(torch.optim.SGD, momentum=0.9, dampening=0.5),
    "rmsprop(momentum=0.9, centered=True)": partial(torch.optim.RMSprop, momentum=0.9, centered=True),
    "adagrad(initial_accumulator_value=0.1)": partial(torch.optim.Adagrad, initial_accumulator_value=0.1),
}
KINDS = {**OPTIMIZERS, **WITH_OPTIONS}


def test_all_dense_optimizers_of_torch_are_known():
    known = {each.lower() for each in torch.optim.__all__ if isinstance(getattr(torch.optim, each), type)}
    assert {*OPTIMIZERS, *UNFIT} == known - {"optimizer"}


def test_each_takes_its_fastest_implementation_unless_told_otherwise():
    weights = [nn.Parameter(torch.zeros(2))]
    found = {name: build_optimizer(name, weights, LR).defaults for name in ("adam", "sgd", "adamax", "adafactor")}
    assert [found[name].get("fused") for name in found] == [True, None, None, None]
    assert [found[name].get("foreach") for name in found] == [None, True, True, True]
    assert build_optimizer("adam(foreach=True)", weights, LR).defaults["fused"] is None


@pytest.mark.parametrize("name", KINDS)
def test_steps_are_those_of_a_loop_by_hand(name):
    pair, by_hand = ([each.double() for each in build()] for _ in range(2))
    step, reference = EagerStep(*pair, ELBO(), LR, name), EagerStep(*by_hand, ELBO(), LR)
    optimizer = KINDS[name](reference.weights, lr=LR)
    x = torch.rand(20, *SHAPE, dtype=torch.float64)
    for _ in range(10):
        state = torch.get_rng_state()
        step(x)
        torch.set_rng_state(state)
        reference.differentiate(x)
        optimizer.step()
    rounding = 1e-6 if name == "asgd" else 1e-10  # its step size is a float32
    torch.testing.assert_close(weights(pair), weights(by_hand), rtol=rounding, atol=1e-2 * rounding)


@pytest.mark.parametrize("name", [*KINDS, torch.optim.RAdam, lambda weights, lr: torch.optim.SGD(weights, 2 * lr)])
def test_an_epoch_goes_on_where_it_was_left(tmp_path, name):
    options = {"epochs": 2, "optimizer": name, "checkpoint_minutes": ALWAYS, "clip_norm": 1.0}
    whole, last = build(), build(seed=1)
    expected = train(whole, out=tmp_path / "whole", **options)
    assert train(build(), loss=at_step(STEPS + 1, ELBO(), interrupt), out=tmp_path / "cut", **options).interrupted
    run = train(last, out=tmp_path / "cut", resume=True, **options)
    assert_equal(weights(last), weights(whole))
    assert timeless(run.history) == timeless(expected.history)
    assert_same(*(RunFolder(tmp_path / each).read_checkpoint() for each in ("cut", "whole")))


@pytest.mark.parametrize("name", KINDS)
def test_moments_start_again_as_those_of_a_new_optimizer(name):
    step = EagerStep(*build(), ELBO(), LR, name)
    x = torch.rand(20, *SHAPE)
    for _ in range(3):
        step(x)
    restarted = step.weights[:2]
    step.restart(restarted)
    copies = [nn.Parameter(weight.detach().clone()) for weight in restarted]
    step.differentiate(x)
    for copy, weight in zip(copies, restarted, strict=True):
        copy.grad = weight.grad.clone()
    step.optimizer.step()
    build_optimizer(name, copies, LR).step()
    torch.testing.assert_close(copies, restarted, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("trained", "resumed"),
    [
        ("sgd", "sgd(momentum=0.9)"),
        ("sgd(momentum=0.9)", "sgd"),
        ("adam", "adam(amsgrad=True)"),
        ("rmsprop(centered=True)", "rmsprop"),
    ],
)
def test_other_moments_are_refused_on_resume(tmp_path, trained, resumed):
    train(build(), out=tmp_path, optimizer=trained)
    if trained == "sgd":  # which remembers nothing, so that momentum starts here
        assert len(train(build(), out=tmp_path, optimizer=resumed, epochs=3, resume=True).history) == 3
        return
    with pytest.raises(InputError, match="the checkpoint's optimizer has other moments than this one"):
        train(build(), out=tmp_path, optimizer=resumed, epochs=3, resume=True)


def test_options_may_change_on_resume(tmp_path):
    train(build(), out=tmp_path, optimizer="adamw(weight_decay=0.1)")
    seen = []
    again = partial(torch.optim.AdamW, weight_decay=0.5, fused=True)
    make = lambda weights, lr: seen.append(again(weights, lr)) or seen[-1]  # noqa: E731
    train(build(), out=tmp_path, optimizer=make, epochs=3, resume=True)
    assert seen[0].param_groups[0]["weight_decay"] == 0.5
    with pytest.raises(InputError, match="optimizer is adamw, here it is adam: give optimizer='adamw'"):
        train(build(), out=tmp_path, optimizer="adam", epochs=4, resume=True)


def test_a_function_gives_groups_with_learning_rates_of_their_own(tmp_path):
    """Under a schedule each keeps its ratio."""
    pair = build()

    def make(weights, lr):
        head, *rest = weights
        return torch.optim.SGD([{"params": [head], "lr": 10 * lr}, {"params": rest}], lr=lr)

    step = EagerStep(*pair, ELBO(), LR, make, lr_schedule=lambda step: 0.5)
    step(torch.rand(5, *SHAPE))
    assert [group["lr"] for group in step.optimizer.param_groups] == [5 * LR, LR / 2]
    train(pair, optimizer=make, out=tmp_path)
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert config["optimizer"].endswith("make")


@pytest.mark.parametrize(
    ("optimizer", "words"),
    [
        ("adamm", "unknown optimizer 'adamm': did you mean 'adam'"),
        ("lbfgs", "optimizer lbfgs cannot be used, as it evaluates the loss several times per step: take another"),
        ("sparse-adam", "optimizer sparseadam cannot be used, as it takes sparse gradients alone"),
        ("Muon(lr=1)", "optimizer muon cannot be used, as it takes matrices alone"),
        ("adam(beta=1)", "optimizer adam has no option 'beta': did you mean 'betas'"),
        ("adam(lr=0.1)", "optimizer adam has no option 'lr'"),
        ("adam(betas=1)", r"optimizer 'adam\(betas=1\)': "),
        ("adam(betas=(0.9, 1.1))", "Invalid beta parameter at index 1"),
        ("adam(weight_decay='a')", "optimizer adam: weight_decay is 'a': expected a number"),
        ("sgd(nesterov=True)", "Nesterov momentum requires a momentum"),
        ("adam(", "is no name with options"),
        (torch.optim.LBFGS, "optimizer LBFGS cannot be used"),
        (3, "optimizer is 3: expected the name of one of torch.optim"),
        (lambda weights, lr: None, "optimizer gives None: expected an optimizer of torch"),
        (lambda weights, lr: torch.optim.SGD(weights[1:], lr), "optimizer trains other weights than it was given"),
        (lambda weights, lr: 1 / 0, "optimizer .*division by zero"),
    ],
)
def test_what_is_no_optimizer_is_refused(tmp_path, optimizer, words):
    with pytest.raises(InputError, match=words):
        train(build(), out=tmp_path / "run", optimizer=optimizer)
    if isinstance(optimizer, str):
        with pytest.raises(InputError, match=words):
            compare(DATA, ["mean-field"], Settings(optimizer=optimizer), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_weight_decay_is_a_normal_prior_on_the_weights():
    """One step ascends the mean bound plus log N(0, 1 / (λ N)) of all weights, per example of N."""
    x, decay = DATA.train.x[:8], 0.02
    found = []
    for by_hand in (False, True):
        model, guide = build()
        step = EagerStep(model, guide, ELBO(), LR, "sgd" if by_hand else f"sgd(weight_decay={decay})")
        torch.manual_seed(1)
        if by_hand:
            size = len(DATA.train)
            prior = torch.distributions.Normal(0, (decay * size) ** -0.5)
            bound = step.loss.objective(model, guide, x)[0].mean()
            objective = bound + sum(prior.log_prob(p).sum() for p in step.weights) / size
            (-objective).backward()
            step.optimizer.step()
        else:
            step(x)
        found.append(weights((model, guide)))
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name], rtol=1e-5, atol=1e-7)
