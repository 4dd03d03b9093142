"""Labels of few training examples, as in semi-supervised learning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pyro_vaes.data.dataset import Data
from pyro_vaes.errors import InputError
from pyro_vaes.validation import check_seed, check_whole

UNKNOWN = -1  # in place of a label


def hide_labels(data: Data, keep: int, seed: int = 0, column: int = 0, classes: Sequence[int] | None = None) -> Data:
    """The data with the labels of few training examples, as many of each class; the other labels are -1.

    Labels of the validation split are hidden too, so that the best weights are chosen by the bound of unlabeled data.
    Those of the test split stay, for scores.

    Args:
        data: data with labels.
        keep: number of training labels to keep; where it is no multiple of the number of classes, the first classes
            have one more.
        seed: seed of the examples that keep theirs.
        column: column of the labels, if there are several; the new labels are this one.
        classes: the classes whose labels are kept; by default all of them.

    Raises:
        InputError: If there are no labels, a class does not exist, or a class has fewer examples than it should keep.

    Example:
        >>> import pyro_vaes as pv
        >>> data = hide_labels(pv.data.load("digits"), keep=20)
        >>> data.train.y[data.train.y >= 0].bincount().tolist(), bool((data.valid.y == -1).all())
        ([2, 2, 2, 2, 2, 2, 2, 2, 2, 2], True)
    """
    y = _column(data.train.y, column)
    known = y.unique()[y.unique() != UNKNOWN].tolist()
    chosen = known if classes is None else sorted(set(classes))
    if missing := [each for each in chosen if each not in known]:
        raise InputError(f"no training example has the label {missing[0]}: the labels are {_listed(known)}")
    check_whole("keep", keep, least=len(chosen))
    generator = torch.Generator().manual_seed(check_seed(seed))
    hidden = torch.full_like(y, UNKNOWN)
    for place, label in enumerate(chosen):
        examples = (y == label).nonzero().squeeze(1)
        number = keep // len(chosen) + (place < keep % len(chosen))
        if number > len(examples):
            raise InputError(f"{number} labels of class {label} should be kept, but it has {len(examples)} examples")
        kept = examples[torch.randperm(len(examples), generator=generator)[:number].to(y.device)]
        hidden[kept] = label
    test = data.test.y
    return replace(
        data,
        train=replace(data.train, y=hidden),
        valid=replace(data.valid, y=torch.full((len(data.valid),), UNKNOWN)),
        test=replace(data.test, y=None if test is None else _column(test, column)),
        description=f"{data.description}; {keep} labels of {len(chosen)} classes, seed {seed}",
    )


def _column(y: Tensor | None, column: int) -> Tensor:
    if y is None:
        raise InputError("the data have no labels to keep: give y_train")
    columns = y.reshape(len(y), -1)
    if not 0 <= column < columns.shape[1]:
        raise InputError(f"column is {column}: expected 0 to {columns.shape[1] - 1}, the columns of the labels")
    return columns[:, column]


def _listed(labels: Sequence[int]) -> str:
    return ", ".join(map(str, labels[:20])) + (" …" if len(labels) > 20 else "")
