"""The gradient step as one compiled graph: Pyro's handlers run once, when it is traced, and never again."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import pyro
import torch
from torch import Tensor
from torch.nn.utils import stateless

from pyro_vaes.training.pair import unchanged_buffers
from pyro_vaes.training.products import choose_products, summary
from pyro_vaes.training.step import CannotCompile, EagerStep, check_repeatable, same_draws

TOLERANCE = 1e-3  # of a gradient, against the eager one, in units of its norm
ROUNDING = 1e-6  # of a gradient whose terms cancel, in units of the norm of all gradients together


class CompiledStep(EagerStep):
    """The step of :class:`EagerStep`, whose gradients come from a graph that Inductor compiled.

    The loss is traced through Pyro's handlers into a graph of tensor operations, with its gradients, and checked
    against the eager ones on the batch that it was traced with: draws come from the same generator in the same order,
    so that under one seed both see the same noise. Schedules of the loss are inputs of the graph. A batch of another
    size, such as an epoch's last, is taken eagerly, and so is every step in which the guide warms up.

    On a CPU, each of its matrix products in float32 is taken by oneDNN where that is faster, see
    :mod:`pyro_vaes.training.products`. A resumed training keeps the choices of the first; several processes, which
    would each choose for themselves, keep torch's products.

    Its arguments are those of :class:`EagerStep`.

    Attributes:
        products: whether oneDNN takes each kind of product.

    Raises:
        CannotCompile: If the loss cannot be traced or compiled, or the graph's gradients differ, at the first batch.
    """

    shape: torch.Size | None = None
    graph: Callable[..., Any]
    products: Mapping[str, bool] = MappingProxyType({})

    def differentiate(self, x: Tensor, *given: Tensor) -> Tensor:
        """Set the gradients of all weights; returns the sums over the batch of objective and terms."""
        if self.warming_up or x.shape != self.shape:
            return super().differentiate(x, *given)
        with torch.no_grad():
            sums, *gradients = self.graph(x, *given, self.schedule(x), *self.values)
        for place in self.views:
            gradients[place] = torch.empty_like(self.values[place]).copy_(gradients[place])
        for weight, gradient in zip(self.weights, gradients, strict=True):
            weight.grad = gradient
        return sums

    def prepare_for(self, *batch: Tensor) -> None:
        """Trace, compile and check the graph of batches such as this one; running averages stay as they are."""
        check_repeatable(self.loss)
        with unchanged_buffers(self.model, self.guide):
            self._compile(*batch)
        self.shape = batch[0].shape

    def _compile(self, *batch: Tensor) -> None:
        import torch._inductor as inductor  # seconds, which no other step should wait for
        from torch.fx.experimental.proxy_tensor import make_fx

        self.values = [weight.detach() for weight in self.weights]
        x = batch[0]
        inputs = (*batch, self.schedule(x), *self.weights)
        with same_draws(x):
            expected = super().differentiate(*batch)
        gradients = [weight.grad for weight in self.weights]
        try:
            with same_draws(x), pyro.validation_enabled(False):  # whose checks look at values
                traced = make_fx(self._function)(*inputs)
            if self.group.size == 1:
                self.products = choose_products(traced, known=self.products)
                self.remark = summary(self.products)
            with torch.no_grad():
                with warnings.catch_warnings(action="ignore"):  # that torch gives itself
                    self.graph = inductor.compile(
                        traced, [each.detach() for each in inputs], options={"fallback_random": True}
                    )
                with same_draws(x):
                    sums, *found = self.graph(*(each.detach() for each in inputs))
        except Exception as error:
            raise CannotCompile(
                f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            ) from error
        _check_equal([expected], [sums])
        _check_equal(gradients, list(found))
        self.views = _views(self.values, found)

    def state_dict(self) -> dict[str, Any]:
        """The state on which the next step depends beside the weights, to the bit."""
        return super().state_dict() | {"products": dict(self.products)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what :meth:`state_dict` gave, with its products, before the step is prepared."""
        super().load_state_dict(state)
        self.products = dict(state.get("products", {}))

    def _function(self, *inputs: Tensor) -> tuple[Tensor | None, ...]:
        """Sums over the batch, and the gradients, as a function of batch, schedule and weights."""
        count = 1 + len(self.given)
        (x, *given), scheduled, values = inputs[:count], inputs[count], inputs[count + 1 :]
        with contextlib.ExitStack() as stack:
            places = {id(weight): value for weight, value in zip(self.weights, values, strict=True)}
            for module in (self.model, self.guide):
                named = module.named_parameters(remove_duplicate=False)
                own = {name: places[id(p)] for name, p in named if id(p) in places}
                stack.enter_context(stateless._reparametrize_module(module, own))
            stack.enter_context(self.loss.with_schedule(scheduled))
            stack.enter_context(self.precision())
            objective, terms = self.loss.objective(*self.bound(*given), x)
            gradients = torch.autograd.grad(-objective.mean(), values, allow_unused=True)
        return torch.stack([value.detach().sum() for value in (objective, *terms.values())]), *gradients


def _views(weights: list[Tensor], gradients: list[Tensor | None]) -> list[int]:
    """Places of gradients in the memory of another one, or laid out otherwise than their weights.

    Eager gradients never are, and optimizers rely on it: some change gradients in place, and fused ones read past the
    end of an expanded gradient.
    """
    places, seen = [], set()
    for place, (weight, gradient) in enumerate(zip(weights, gradients, strict=True)):
        if gradient is not None:
            memory = gradient.untyped_storage().data_ptr()
            if memory in seen or gradient.stride() != weight.stride():
                places.append(place)
            seen.add(memory)
    return places


def _check_equal(expected: list[Any], found: list[Any]) -> None:
    whole = sum(one.norm().item() ** 2 for one in expected if one is not None) ** 0.5
    for one, other in zip(expected, found, strict=True):
        if (one is None) != (other is None):
            raise CannotCompile("the graph trains other weights than the eager step")
        if one is not None and not (one - other).norm() <= TOLERANCE * one.norm() + ROUNDING * max(whole, 1):
            raise CannotCompile(
                f"the graph's gradients differ from the eager ones by {(one - other).norm().item():.2g}"
            )
