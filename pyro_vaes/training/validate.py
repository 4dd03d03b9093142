"""Checks of training settings, each with a message that says what to do."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pyro_vaes.data import Data, Split
from pyro_vaes.errors import InputError, shown, unknown
from pyro_vaes.given import Given, accepted
from pyro_vaes.losses import Loss
from pyro_vaes.priors import GaussianMixture
from pyro_vaes.recipes.kinds import check_kind
from pyro_vaes.training.callbacks import Callback
from pyro_vaes.training.precision import PRECISIONS
from pyro_vaes.training.step_kind import STEPS
from pyro_vaes.vae import Guide, LatentVariableModel
from pyro_vaes.validation import check_positive, check_whole


def check_lr(lr: object) -> float:
    """Check a learning rate; returns it as Python's number.

    Raises:
        InputError: If it is not a positive number.
    """
    return check_positive("lr", lr, "a positive number, for example 1e-3")


def check_ema(ema: object) -> float | None:
    """Check a decay of averaged weights; returns it as Python's number, or None for none.

    Raises:
        InputError: If it is outside (0, 1).
    """
    expected = (
        "the decay of the weights' moving average, a number between 0 and 1 such as 0.998, or None for no average"
    )
    return None if ema is None else check_positive("ema", ema, expected, below=1)


def check_clip_norm(norm: object) -> float | None:
    """Check a largest norm of gradients; returns it as Python's number, or None for none.

    Raises:
        InputError: If it is not a positive number.
    """
    expected = "the largest norm of all gradients together, a positive number such as 5, or None for no clipping"
    return None if norm is None else check_positive("clip_norm", norm, expected)


def check_patience(patience: object) -> int | None:
    """Check a number of epochs of patience; returns it as Python's integer, or None for none.

    Raises:
        InputError: If it is not a positive whole number.
    """
    return None if patience is None else check_whole("patience", patience)


def check_means(loss: object, step: str, precision: str) -> None:
    """Refuse what is no loss, an unknown kind of step, or an unknown precision.

    Raises:
        InputError: If one of them is unknown; names the known ones.
    """
    if not isinstance(loss, Loss):
        raise InputError(f"loss is a {type(loss).__name__}: fit takes the losses of pyro_vaes.losses, such as ELBO()")
    if step not in ("auto", *STEPS):
        raise unknown("step", str(step), ("auto", *STEPS))
    if precision not in PRECISIONS:
        raise unknown("precision", str(precision), PRECISIONS)


def check_shards(processes: int, loss: Loss, *modules: nn.Module) -> None:
    """Refuse to shard batches over processes if the examples of a batch depend on each other.

    Raises:
        InputError: If the loss or a layer couples them; names it.
    """
    if processes == 1:
        return
    joint = [type(loss).__name__] if loss.couples_batch else []
    joint += [type(each).__name__ for module in modules for each in module.modules() if isinstance(each, _BatchNorm)]
    if joint:
        raise InputError(
            f"{joint[0]} takes a batch as a whole, but {processes} processes would each have a part of it: "
            "train in one process, or without it"
        )


def check_callbacks(callbacks: object) -> None:
    """Refuse callbacks that are no sequence of instances.

    Raises:
        InputError: If there is something else among them.
    """
    if not isinstance(callbacks, (list, tuple)) or not all(isinstance(each, Callback) for each in callbacks):
        raise InputError(
            f"callbacks is {shown(callbacks)}: expected a list of instances of pyro_vaes.training.Callback"
        )


def check_fits(model: object, split: Split, x: Tensor, given: Given) -> None:
    """Refuse data that are none of the model's.

    Args:
        model: the model; one of the user's own kind is not checked.
        split: the data.
        x: preprocessed data whose values are checked.
        given: the inputs beside x that the model takes.

    Raises:
        InputError: If they have another shape or are of another kind, or the likelihood refuses their values, or the
            model those beside x.
    """
    if isinstance(model, LatentVariableModel):
        model.check_event_shape(split.pixels.shape[1:])
        check_kind(model.likelihood, split.preprocessing.kind)
        model.likelihood.check(model.likelihood.filled(x) if split.preprocessing.missing else x)
        model.check_given(given)


def check_given(model: nn.Module, guide: nn.Module, data: Data, labels: bool = False) -> tuple[str, ...]:
    """Names of the inputs beside x that a training gives to model and guide.

    Args:
        model: the model.
        guide: its guide.
        data: the data, which must have these inputs.
        labels: whether labels that the model can do without are given too.

    Raises:
        InputError: If the pair takes no labels but is to have some, or the data lack what the model requires.
    """
    names = accepted(model, guide, optional=labels)
    if labels and not names:
        raise InputError(
            f"labels is True, but {type(model).__name__} and {type(guide).__name__} take none: name y in the forward "
            "of both, as in forward(self, x, y=None), or leave labels out"
        )
    for split in (data.train, data.valid):
        split.given(names)
    return names


def check_clusters(model: Any, guide: Any, cluster_epoch: object) -> int:
    """Refuse an epoch of cluster initialization for a model or guide without clusters; returns the epoch.

    Raises:
        InputError: If there are no clusters; says what has some.
    """
    epoch = check_whole("cluster_epoch", cluster_epoch, least=0)
    priors = model.priors.values() if isinstance(model, LatentVariableModel) and isinstance(guide, Guide) else ()
    if epoch and not any(isinstance(prior, GaussianMixture) for prior in priors):
        raise InputError(
            f"cluster_epoch is {cluster_epoch}, but a {type(model).__name__} with a {type(guide).__name__} has no "
            "clusters: leave it out, or take a MixtureVAE or a LadderMixtureVAE with its guide"
        )
    return epoch
