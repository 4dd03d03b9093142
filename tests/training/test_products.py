"""Matrix products of compiled steps by oneDNN: equal to torch's, taken only where they are ahead, and switched off."""

import pytest
import torch
import torch._inductor
from torch.fx.experimental.proxy_tensor import make_fx

import pyro_vaes as pv
from pyro_vaes.losses import ELBO, default_loss
from pyro_vaes.training import products
from pyro_vaes.training.compiled_step import CompiledStep
from pyro_vaes.training.products import SWITCH, _offered, choose_products, summary
from tests.helpers.compiled import GUIDES, SHAPE, assert_same_steps, needs_compiler, pair, steps

ONEDNN = torch.ops.pyro_vaes.onednn_product.default
KEY = "mm 5x3:3,1 3x4:4,1"

needs_onednn = pytest.mark.skipif(not _offered(), reason="this torch has no product of oneDNN")


@pytest.fixture
def always(monkeypatch):
    """oneDNN is ahead at every product."""
    monkeypatch.setattr(products, "_ahead", lambda *_: True)


@pytest.fixture
def timed(monkeypatch):
    """Sets what the clock says of the two libraries."""
    products._ahead.cache_clear()
    yield lambda blas, onednn: monkeypatch.setattr(products, "_seconds", lambda ways: [blas, onednn])
    products._ahead.cache_clear()


@pytest.fixture
def uncompiled(monkeypatch):
    """The traced graph itself, which takes seconds less than a compiled one."""
    monkeypatch.setattr(torch._inductor, "compile", lambda graph, *_, **__: graph)


def traced(function=torch.mm, *inputs, dtype=torch.float32):
    inputs = inputs or (torch.rand(5, 3), torch.rand(3, 4))
    return make_fx(function)(*(each.to(dtype) for each in inputs))


def targets(graph):
    return [node.target for node in graph.graph.nodes if node.op == "call_function"]


def laid_out(*shape, transposed):
    return torch.randn(*shape[::-1]).t() if transposed else torch.randn(*shape)


@needs_onednn
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_equal_to_torch_in_every_layout(first, second, bias):
    one, other = laid_out(7, 33, transposed=first), laid_out(33, 20, transposed=second)
    added = torch.randn(20) if bias else None
    expected = one.double() @ other.double() + (added.double() if bias else 0)
    for rows in (one, one[2:], one[:, :33]):
        found = ONEDNN(rows, other, added)
        assert found.is_contiguous()
        torch.testing.assert_close(found, expected[-len(rows) :].float(), rtol=1e-5, atol=1e-5)


@needs_onednn
@pytest.mark.parametrize(("blas", "onednn", "taken"), [(1.0, 0.8, True), (1.0, 0.95, False), (0.0, 0.0, False)])
def test_oneDNN_takes_what_it_is_well_ahead_at(timed, blas, onednn, taken):
    timed(blas, onednn)
    graph = traced()
    assert choose_products(graph, {}) == {KEY: taken}
    assert targets(graph) == [ONEDNN if taken else torch.ops.aten.mm.default]


@needs_onednn
def test_an_inexact_product_is_not_taken(timed, monkeypatch):
    timed(1.0, 0.1)
    monkeypatch.setattr(products, "ROUNDING", -1.0)
    assert choose_products(traced(), {}) == {KEY: False}


@needs_onednn
def test_the_clock_tells_a_short_work_from_a_long_one():
    short, long = products._seconds([lambda: None, lambda: sum(range(10_000))])
    assert short < long


@needs_onednn
def test_a_known_choice_stands_without_a_measurement(timed):
    timed(None, None)  # which no comparison survives
    for known in (True, False):
        assert choose_products(traced(), {KEY: known}) == {KEY: known}


@needs_onednn
def test_it_multiplies_by_weights_that_are_not_trained(always):
    x, weight = torch.rand(5, 3), torch.nn.Parameter(torch.rand(4, 3), requires_grad=False)
    graph = traced(lambda rows: torch.nn.functional.linear(rows, weight), x)
    assert list(choose_products(graph, {}).values()) == [True]
    torch.testing.assert_close(graph(x), x @ weight.T)


@needs_onednn
@pytest.mark.parametrize(
    "graph",
    [
        pytest.param(lambda: traced(dtype=torch.float64), id="float64"),
        pytest.param(lambda: traced(dtype=torch.bfloat16), id="bfloat16"),
        pytest.param(lambda: traced(torch.bmm, torch.rand(2, 5, 3), torch.rand(2, 3, 4)), id="batched"),
        pytest.param(lambda: traced(torch.mm, torch.rand(5, 1).expand(5, 3), torch.rand(3, 4)), id="expanded"),
        pytest.param(lambda: traced(torch.mm, torch.rand(5, 0), torch.rand(0, 4)), id="empty"),
        pytest.param(lambda: traced(torch.mm, torch.rand(5, 6)[:, ::2], torch.rand(3, 4)), id="strided"),
        pytest.param(
            lambda: traced(torch.addmm, torch.rand(5, 4), torch.rand(5, 3), torch.rand(3, 4)), id="added matrix"
        ),
        pytest.param(
            lambda: traced(
                lambda *three: torch.addmm(*three, beta=2), torch.rand(4), torch.rand(5, 3), torch.rand(3, 4)
            ),
            id="scaled bias",
        ),
    ],
)
def test_what_it_cannot_take_stays(always, graph):
    graph = graph()
    before = targets(graph)
    assert choose_products(graph, {}) == {}
    assert targets(graph) == before


def test_the_environment_switches_it_off(always, monkeypatch):
    monkeypatch.setenv(SWITCH, "0")
    graph = traced()
    assert choose_products(graph, {KEY: True}) == {}
    assert targets(graph) == [torch.ops.aten.mm.default]


def test_torch_switches_it_off(always, monkeypatch):
    graph = traced()
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    assert choose_products(graph, {KEY: True}) == {}
    assert targets(graph) == [torch.ops.aten.mm.default]


def test_a_torch_without_it_goes_on_as_before(always, monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert choose_products(traced(), {}) == {}
    assert summary({}) == ""


@needs_onednn
@pytest.mark.parametrize("guide", ["mean-field", *GUIDES])
def test_gradients_of_the_graph_are_the_eager_ones(always, uncompiled, guide):
    """Through the sums and weights of several steps."""
    compiled = assert_same_steps(lambda: pair(guide), lambda: default_loss(pair(guide)[1]))
    assert any(compiled.products.values())
    assert "by oneDNN" in compiled.remark


@needs_onednn
def test_in_float64_the_products_are_torch_s(always, uncompiled):
    compiled = assert_same_steps(lambda: [each.double() for each in pair("mean-field")], ELBO, dtype=torch.float64)
    assert not any(compiled.products.values())
    assert "by oneDNN" not in compiled.remark


@needs_compiler
@needs_onednn
def test_the_compiled_graph_has_them_too(always):
    assert all(assert_same_steps(pair, ELBO, ema=0.9, clip_norm=0.5).products.values())


@pytest.mark.parametrize("switch", ["0", "1"])
def test_switched_off_the_step_is_as_before(always, uncompiled, monkeypatch, switch):
    monkeypatch.setenv(SWITCH, switch)
    *_, step = steps(CompiledStep, *pair(), ELBO(), [torch.rand(5, *SHAPE)])
    assert bool(step.products) == (bool(step.remark)) == (switch == "1" and _offered())


@needs_onednn
def test_a_resumed_training_keeps_its_products(uncompiled, monkeypatch, tmp_path, capsys):
    data = pv.data.Data.from_arrays(x_train=torch.rand(40, *SHAPE))
    fit = {"batch_size": 16, "step": "compiled", "device": "cpu", "out": tmp_path}
    monkeypatch.setattr(products, "_ahead", lambda one, *_: one[0][0] == 16)  # of the products forward
    run = pv.fit(*pair(), data, epochs=1, **fit)
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["last"]["products"]
    assert set(saved.values()) == {True, False}
    assert f"step: {run.step}\n" in capsys.readouterr().err
    assert run.step == f"compiled: as asked for; {summary(saved)}"

    def measured(*_):
        raise AssertionError("a choice was made again")

    monkeypatch.setattr(products, "_ahead", measured)
    assert pv.fit(*pair(), data, epochs=2, resume=True, **fit).step == run.step
