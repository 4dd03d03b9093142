"""A trained pair for other programs: encoder and decoder by ``torch.export``."""

from __future__ import annotations

import copy
import io
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pyro_vaes.distributions.normal import PrecisionNormal, ReflectedNormal
from pyro_vaes.distributions.normal_mixture import NormalMixture
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate.inputs import as_input, evaluating
from pyro_vaes.given import accepted
from pyro_vaes.likelihoods import PixelCNN
from pyro_vaes.param_store import adopt_loaded
from pyro_vaes.runs.atomic import write_whole
from pyro_vaes.vae import Guide, LatentVariableModel

ENCODER, DECODER = "encoder.pt2", "decoder.pt2"
TRACED = 3  # data that a program is traced on: of one, torch would take the number for a constant

#: What is exported of a posterior beside its mean, by its class; of any other its standard deviation.
PARAMETERS: dict[type, tuple[str, ...]] = {
    torch.distributions.MultivariateNormal: ("scale_tril",),
    torch.distributions.LowRankMultivariateNormal: ("cov_factor", "cov_diag"),
    PrecisionNormal: ("precision_tril",),
    ReflectedNormal: ("loc", "scale", "vectors"),
    NormalMixture: ("logits", "locs", "scales"),
}

Outputs = dict[str, Tensor]


def export(model: LatentVariableModel, guide: nn.Module, x: Tensor, out: str | os.PathLike[str]) -> list[str]:
    """Write ``encoder.pt2`` and ``decoder.pt2``, programs for the CPU that need torch and nothing else.

    The encoder takes x to the parameters of q(z | x): its mean, then its standard deviation or, of a family that is
    not diagonal, the attributes of its distribution; of several latents the same for each, the lowest first. The
    decoder takes z, of a hierarchy all latents, to E[x | z]. Both take any number of data, and are compared with the
    pair before they are written. Of a guide whose posterior cannot be traced, such as a flow, which has no mean in
    closed form, or gradient steps on each datum, the encoder with its head is exported alone, and the line says so.

    Args:
        model: the model.
        guide: its guide.
        x: data to trace on, ``(B, *event_shape)``.
        out: folder to write to.

    Returns:
        One line per program that says what it takes and gives.

    Raises:
        InputError: If the likelihood has no mean in closed form, or the networks cannot be traced.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for line in export(vae, guide, x, folder):
        ...         print(line.removeprefix(folder))
        /encoder.pt2: x (B, 1, 8, 8) -> mean (B, 2), stddev (B, 2); float32, on the CPU
        /decoder.pt2: z (B, 2) -> E[x | z] (B, 1, 8, 8); float32, on the CPU
    """
    if isinstance(model.likelihood, PixelCNN):
        raise InputError(
            f"{type(model.likelihood).__name__} has no mean but draws pixel by pixel, which cannot be exported: give a "
            "model with another likelihood"
        )
    if names := accepted(model, guide, optional=False):
        raise InputError(
            f"{type(model).__name__} requires {names[0]} beside x, and cannot be exported: give a model of x alone"
        )
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    adopt_loaded(model, guide)
    model, guide = copy.deepcopy((model, guide))  # together, since one holds the other
    model.cpu(), guide.cpu()
    x = as_input(model, x)
    x = x[torch.arange(TRACED) % len(x)]
    with evaluating(model, guide, x=x), torch.no_grad():
        decoder = _decoder(model, x)  # first, since without it nothing is written
        return [_encoder(model, guide, x).write(folder / ENCODER), decoder.write(folder / DECODER)]


class _Exported(NamedTuple):
    """A program, as the content of a file, and a line that describes it."""

    content: bytes
    line: str

    def write(self, path: Path) -> str:
        if self.content:
            write_whole(path, self.content)
        return f"{path}: {self.line}"


class _Program(nn.Module):
    """A function of tensors, with the modules whose weights it uses."""

    def __init__(self, function: Callable[..., Outputs], *used: nn.Module) -> None:
        super().__init__()
        self.function, self.used = function, nn.ModuleList(used)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.function(*inputs).values())

    def exported(self, **inputs: Tensor) -> _Exported:
        """Trace on some inputs, and compare on others."""
        values = tuple(inputs.values())
        dynamic = (tuple({0: torch.export.Dim.DYNAMIC} for _ in values),)
        stream = io.BytesIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The .grad attribute of a Tensor")  # of gradients inside a posterior
            torch.export.save(torch.export.export(self, values, dynamic_shapes=dynamic), stream)
        stream.seek(0)
        again = torch.export.load(stream).module()
        for size in (1, TRACED):
            batch = [value[:size] for value in values]
            for own, exported in zip(self(*batch), again(*batch), strict=True):
                torch.testing.assert_close(exported, own, equal_nan=True)
        taken, given = (_shapes(each) for each in (inputs, self.function(*values)))
        dtype = str(values[0].dtype).removeprefix("torch.")
        return _Exported(stream.getvalue(), f"{taken} -> {given}; {dtype}, on the CPU")


def _shapes(tensors: Mapping[str, Tensor]) -> str:
    return ", ".join(f"{name} ({', '.join(map(str, ('B', *value.shape[1:])))})" for name, value in tensors.items())


def _encoder(model: LatentVariableModel, guide: nn.Module, x: Tensor) -> _Exported:
    name = type(guide).__name__
    if not isinstance(guide, Guide):
        return _Exported(b"", f"not written, since {name} has no posteriors(x): give a pyro_vaes Guide")
    try:
        return _Program(lambda x: _posterior_parameters(guide, x), guide, model).exported(x=x)
    except Exception as error:  # of distributions, of torch's tracer: which one depends on what cannot be traced
        reason = error
    own, plain = type(guide).local_parameters, Guide.local_parameters
    for local_parameters in dict.fromkeys((own, plain)):  # the second without a refinement
        try:
            content, line = _Program(lambda x, of=local_parameters: _heads(of(guide, x)), guide).exported(x=x)
        except (NotImplementedError, AttributeError):  # it is not made of local parameters and a family
            raise _untraceable(name, reason) from reason
        except Exception as error:
            failure = error
        else:
            return _Exported(content, f"{line}; the encoder with its head, from where {name} goes on, not exported")
    raise _untraceable(type(guide.encoder).__name__, failure) from failure


def _heads(found: tuple[Tensor, ...]) -> Outputs:
    """Local parameters by name: ``head``, or ``head1`` … of several."""
    names = ["head"] if len(found) == 1 else [f"head{index}" for index in range(1, len(found) + 1)]
    return dict(zip(names, found, strict=True))


def _decoder(model: LatentVariableModel, x: Tensor) -> _Exported:
    latents = {site: x.new_zeros(TRACED, size) for site, size in zip(model.sites, model.latent_dims, strict=True)}
    output = f"E[x | {', '.join(latents)}]"
    try:
        return _Program(lambda *z: {output: model.decode(*z)}, model).exported(**latents)
    except Exception as error:
        raise _untraceable(type(model).__name__, error) from error


def _posterior_parameters(guide: Guide, x: Tensor) -> Outputs:
    """The parameters of each latent's posterior by their names."""
    posteriors = {site: _parameters(q) for site, q in guide.posteriors(x).items()}
    if len(posteriors) == 1:
        return next(iter(posteriors.values()))
    return {f"{name}_{site}": value for site, each in posteriors.items() for name, value in each.items()}


def _parameters(q: torch.distributions.Distribution) -> Outputs:
    names = next((names for kind, names in PARAMETERS.items() if isinstance(q, kind)), ("stddev",))
    return {name: getattr(q, name) for name in ("mean", *names)}


def _untraceable(name: str, error: Exception) -> InputError:
    reason = (str(error).splitlines() or [""])[0]
    return InputError(f"{name} cannot be exported ({type(error).__name__}: {reason}): give other networks")
