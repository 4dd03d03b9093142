"""The matrix products of a compiled step, each by the faster of the two libraries that torch has on a CPU.

torch multiplies float32 matrices through its BLAS, mostly MKL. The oneDNN that it has for convolutions multiplies them
equally exactly, and faster where that BLAS has no kernels of the processor's best instructions, as MKL on processors of
other makers. Batched products stay with the BLAS, since torch offers none of oneDNN's in float32.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

SWITCH = "PYRO_VAES_ONEDNN"  # environment variable; with 0, every product stays with the BLAS
AHEAD = 0.9  # largest ratio of oneDNN's time to the BLAS's at which its product is taken
ROUNDING = 1e-5  # largest difference of the two, in units of the product's norm
TIMES, LONG = 7, 0.2  # repetitions of each product, and the seconds after which three are enough

BLAS = {torch.ops.aten.mm.default: 0, torch.ops.aten.addmm.default: 1}  # place of the first factor among arguments

#: Whether oneDNN takes each kind of product, by operation, shapes and strides.
Choices = dict[str, bool]

Layout = tuple[tuple[int, ...], tuple[int, ...]]  # shape and strides

torch.library.define("pyro_vaes::onednn_product", "(Tensor one, Tensor other, Tensor? bias) -> Tensor")


@torch.library.impl("pyro_vaes::onednn_product", "CPU")
def _product(one: Tensor, other: Tensor, bias: Tensor | None) -> Tensor:
    """``one @ other + bias`` by oneDNN, in float32."""
    return torch.ops.mkldnn._linear_pointwise.default(one, other.t(), bias, "none", [], "")


@torch.library.register_fake("pyro_vaes::onednn_product")
def _shape_of_product(one: Tensor, other: Tensor, bias: Tensor | None) -> Tensor:
    return one.new_empty(one.shape[0], other.shape[1])


def choose_products(graph: GraphModule, known: Mapping[str, bool]) -> Choices:
    """Let oneDNN take the products of a traced graph where it is ahead, in place; returns all choices.

    Each kind of product, by shapes and memory layouts, is timed on random matrices; a product of oneDNN has to be ahead
    by a tenth and equally exact. Products of float64 and bfloat16 stay as they are.

    Args:
        graph: a graph of torch's operations on tensors.
        known: choices that were made before, which stand.

    Example:
        >>> from torch.fx.experimental.proxy_tensor import make_fx
        >>> one, other = torch.ones(2, 3), torch.ones(3, 4)
        >>> graph = make_fx(torch.mm)(one, other)
        >>> choose_products(graph, {"mm 2x3:3,1 3x4:4,1": True})
        {'mm 2x3:3,1 3x4:4,1': True}
        >>> graph(one, other)[0]
        tensor([3., 3., 3., 3.])
    """
    choices: Choices = {}
    if not _offered():
        return choices
    for node in graph.graph.nodes:
        if (key := _key(node)) is None:
            continue
        if key not in choices:
            layouts = map(_layout, _factors(node))
            choices[key] = known[key] if key in known else _ahead(*layouts, torch.get_num_threads())
        if choices[key]:
            node.args = (*_factors(node), node.args[0] if BLAS[node.target] else None)
            node.target = torch.ops.pyro_vaes.onednn_product.default
    graph.recompile()
    return choices


def _offered() -> bool:
    """Whether this torch has the product of oneDNN, and neither it nor the environment switches it off."""
    switched_on = bool(torch.backends.mkldnn.enabled) and os.environ.get(SWITCH) != "0"
    return switched_on and torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def summary(choices: Choices) -> str:
    """The choices in words, for the log.

    Example:
        >>> summary({"mm 2x3:3,1 3x4:4,1": True, "mm 4x2:2,1 2x3:3,1": False})
        '1 of 2 kinds of matrix product by oneDNN'
    """
    return f"{sum(choices.values())} of {len(choices)} kinds of matrix product by oneDNN" if choices else ""


def _factors(node: Any) -> tuple[Any, ...]:
    first = BLAS[node.target]
    return node.args[first : first + 2]


def _layout(factor: Any) -> Layout:
    value = factor.meta["val"]
    return tuple(value.shape), value.stride()


def _key(node: Any) -> str | None:
    """The kind of a product that oneDNN may take: the operation, and shapes and strides of both factors."""
    if node.target not in BLAS or node.kwargs:
        return None
    values = [each.meta["val"] for each in node.args]
    if any(value.dtype != torch.float32 or value.device.type != "cpu" for value in values):
        return None
    if node.target is torch.ops.aten.addmm.default and values[0].dim() != 1:
        return None
    factors = values[-2:]
    if not all(1 in factor.stride() and 0 not in (*factor.stride(), *factor.shape) for factor in factors):
        return None
    layouts = ["x".join(map(str, each.shape)) + ":" + ",".join(map(str, each.stride())) for each in factors]
    return " ".join([node.target.name().removeprefix("aten::"), *layouts])


@cache
def _ahead(one: Layout, other: Layout, threads: int) -> bool:
    """Whether oneDNN is ahead of the BLAS at a product, and equally exact; measured once for a number of threads.

    The clock is the thread's own, which stands while other processes have the processor.
    """
    factors = [torch.empty_strided(*each).normal_(generator=torch.Generator()) for each in (one, other)]
    out = torch.empty(one[0][0], other[0][1])
    ways: list[Callable[[], Tensor]] = [
        lambda: torch.mm(*factors, out=out),
        lambda: torch.ops.pyro_vaes.onednn_product.default(*factors, None),
    ]
    with torch.no_grad():
        expected, found = (way().clone() for way in ways)
        if not (found - expected).norm() <= ROUNDING * expected.norm():
            return False
        blas, onednn = _seconds(ways)
    return 0 < onednn <= AHEAD * blas


def _seconds(ways: list[Callable[[], Tensor]]) -> list[float]:
    """The shortest time of each way, which take turns."""
    best, spent = [float("inf")] * len(ways), 0.0
    for turn in range(TIMES):
        if turn >= 3 and spent > LONG:
            break
        for place, way in enumerate(ways):
            start = time.thread_time()
            way()
            seconds = time.thread_time() - start
            best[place], spent = min(best[place], seconds), spent + seconds
    return best
