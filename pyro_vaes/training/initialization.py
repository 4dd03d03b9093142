"""Data-dependent initialization: of likelihood and priors before training, of mixture priors after some epochs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import pyro
import torch
from torch import Tensor, nn

from pyro_vaes.data.labels import UNKNOWN
from pyro_vaes.data.missing import check_seen_features
from pyro_vaes.data.split import Split
from pyro_vaes.errors import InputError
from pyro_vaes.given import Given, bind, split
from pyro_vaes.losses import Loss
from pyro_vaes.missing import fill_mean
from pyro_vaes.models import initialize_from_codes
from pyro_vaes.networks.copy_weights import copy_weights
from pyro_vaes.networks.evaluation_mode import evaluation_mode
from pyro_vaes.networks.weight_norm import initialize_weight_norm
from pyro_vaes.param_store import registered_params_only, restored_param_store, without_registration
from pyro_vaes.training.callbacks import Callback
from pyro_vaes.training.pair import check_last_batch, unchanged_buffers
from pyro_vaes.training.state import Epoch, TrainingState
from pyro_vaes.training.step import same_draws
from pyro_vaes.training.validate import check_fits
from pyro_vaes.vae import Guide, LatentVariableModel

INIT_SIZE = 10_000  # training images of data-dependent initialization
WEIGHT_NORM_SIZE = 500  # of these, of that of weight-normalized layers, as in MAE's code


def initialize(
    model: nn.Module,
    guide: nn.Module,
    loss: Loss,
    train: Split,
    batch_size: int,
    device: torch.device,
    resume: bool,
    names: Sequence[str] = (),
) -> None:
    """Initialize from the data, unless resumed, and run a batch with all of Pyro's checks on.

    Initialized are likelihood and priors, which a batch that fails leaves as they were, and then weight-normalized
    layers.

    Args:
        model: the model.
        guide: its guide.
        loss: the objective.
        train: the training data.
        batch_size: examples per gradient step.
        device: where the training runs.
        resume: whether a checkpoint has what would be initialized.
        names: names of the inputs beside x that model and guide take.

    Raises:
        InputError: If the data are none of the model's, or the batch cannot be trained on.
    """
    loss.num_steps = 0
    x = _init_batch(train, device)
    check_fits(model, train, x, train.given(names))
    check_seen_features(x, f"x_train[:{len(x)}]")
    with (
        _initialized_parts(model, x, resume),
        same_draws(x),
        unchanged_buffers(model, guide),
        restored_param_store(),
        pyro.validation_enabled(True),
    ):
        given = _init_given(train, names, x)
        views = bind(model, given), bind(guide, given)
        check_last_batch(*views, loss, x, len(train), batch_size)
        with registered_params_only(model, guide), torch.no_grad():
            first, *views_of_first = next(split(batch_size, x, *views))
            loss.objective(*views_of_first, first)
    if not resume:
        first = x[:WEIGHT_NORM_SIZE]
        with same_draws(x), without_registration(), evaluation_mode(model, guide):
            initialize_weight_norm(lambda: loss.objective(model, guide, first), model, guide)


@contextmanager
def _initialized_parts(model: nn.Module, x: Tensor, resume: bool) -> Iterator[None]:
    """Initialize likelihood and priors, and take it back if the body fails."""
    parts = [model.likelihood, *model.priors.values()] if isinstance(model, LatentVariableModel) and not resume else []
    new: list[Any] = [part for part in parts if not part.initialized]
    before = [{name: value.clone() for name, value in part.state_dict().items()} for part in new]
    try:
        for part in new:
            part.initialize(x if part is model.likelihood else fill_mean(x))
            part.initialized.fill_(True)
        yield
    except BaseException:
        for part, state in zip(new, before, strict=True):
            part.load_state_dict(state)
        raise


def start_from(model: nn.Module, guide: nn.Module, start: object) -> None:
    """Set a pair to a trained mean-field guide and its model, unless that is the pair's own.

    Raises:
        InputError: If one of the guides is none of this library's contract, or the two pairs differ in their networks.

    Example:
        >>> from pyro_vaes.guides import LowRank, MeanField
        >>> trained, low_rank = MeanField(vae, encoder), LowRank(vae, encoder)
        >>> start_from(vae, low_rank, trained)
        >>> torch.equal(low_rank.posterior(x).mean, trained.posterior(x).mean)
        True
    """
    for name, each in (("guide", guide), ("start", start)):
        if not isinstance(each, Guide):
            raise InputError(f"{name} is a {type(each).__name__}: with a start it has to be a pyro_vaes Guide")
    own, trained = cast(Guide, guide), cast(Guide, start)
    own.start_from(trained)
    if trained.vae is not model:
        copy_weights(trained.vae, model, "model")


class ClusterInitialization(Callback):
    """Sets Gaussian mixture priors to the clusters of the codes, once.

    The optimizer's moments and the average of all weights that this sets start again.

    Args:
        cluster_epoch: epoch after which this is done, at the start of the next one, whose noise is seeded by then.
        train: the training data.
    """

    def __init__(self, cluster_epoch: int, train: Split) -> None:
        self.cluster_epoch, self.train = cluster_epoch, train

    def on_epoch_start(self, state: TrainingState, epoch: Epoch) -> None:
        """Initialize the clusters, unless this was done before the checkpoint in the middle of this epoch."""
        if epoch.number == self.cluster_epoch + 1 and not epoch.seen:
            before = [weight.detach().clone() for weight in state.step.weights]
            state.group.on_rank_zero(lambda: self._initialize(state))
            state.group.broadcast_weights(state.modules.values())
            pairs = zip(state.step.weights, before, strict=True)
            state.step.restart([weight for weight, old in pairs if not torch.equal(weight, old)])

    def _initialize(self, state: TrainingState) -> None:
        model, guide = cast(LatentVariableModel, state.model), cast(Guide, state.guide)  # as fit has checked
        train = _labeled_first(self.train) if "y" in state.step.given else self.train
        x = _init_batch(train, state.device)
        given = _init_given(train, state.step.given, x)
        initialize_from_codes(bind(model, given), bind(guide, given), x)


def _labeled_first(train: Split) -> Split:
    """As many of the training data as the initialization takes, with those that have a label among them."""
    unknown = (cast(Tensor, train.y).reshape(len(train), -1) == UNKNOWN).all(1)
    rows = unknown.long().argsort(stable=True)[:INIT_SIZE]
    return replace(train, pixels=train.pixels[rows], y=cast(Tensor, train.y)[rows])


def _init_batch(train: Split, device: torch.device) -> Tensor:
    """The training data of data-dependent initialization."""
    return train.preprocess(train.pixels[:INIT_SIZE].to(device))


def _init_given(train: Split, names: Sequence[str], x: Tensor) -> Given:
    """Their inputs beside x."""
    return train.given(names).take(slice(len(x))).to(x)
