"""Labels of few training examples."""

import numpy as np
import pytest
import torch

from pyro_vaes.data import Data, hide_labels
from pyro_vaes.errors import InputError


def labeled(columns=1):
    y = np.arange(60) % 4
    y = y if columns == 1 else np.stack([y, y // 2], 1)
    x = np.random.default_rng(0).random((60, 4)).astype(np.float32)
    return Data.from_arrays(
        x_train=x, y_train=y, x_valid=x[:8], y_valid=y[:8], x_test=x[:8], y_test=y[:8], kind="values"
    )


def test_labels_are_balanced_over_classes_and_drawn_by_the_seed():
    data = labeled()
    kept = [hide_labels(data, keep=10, seed=seed).train.y for seed in (0, 0, 1)]
    for y in kept:
        assert y[y >= 0].bincount().tolist() == [3, 3, 2, 2]
        assert torch.equal(y[y >= 0], data.train.y[y >= 0])
    assert torch.equal(kept[0], kept[1])
    assert not torch.equal(kept[0], kept[2])


def test_those_of_validation_are_hidden_and_those_of_the_test_stay():
    data = hide_labels(labeled(), keep=4)
    assert data.valid.y.tolist() == [-1] * 8
    assert data.test.y.tolist() == [0, 1, 2, 3] * 2
    assert data.description.endswith("; 4 labels of 4 classes, seed 0")


def test_some_classes_and_one_column():
    data = hide_labels(labeled(columns=2), keep=6, column=1, classes=[1])
    assert data.train.y[data.train.y >= 0].tolist() == [1] * 6
    assert data.test.y.tolist() == [0, 0, 1, 1] * 2


def test_the_labeled_examples_alone():
    data = hide_labels(labeled(), keep=8)
    part = data.labeled
    assert (len(part.train), len(part.test)) == (8, 8)
    assert part.train.y.min() >= 0
    assert torch.equal(part.train.pixels, data.train.pixels[data.train.y >= 0])
    whole = labeled().train
    assert whole.labeled is whole


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hide_labels(labeled(), keep=3), "keep is 3: expected"),
        (lambda: hide_labels(labeled(), keep=80), "20 labels of class 0 should be kept, but it has 15 examples"),
        (lambda: hide_labels(labeled(), keep=8, classes=[0, 7]), "has the label 7: the labels are 0, 1, 2, 3"),
        (lambda: hide_labels(labeled(2), keep=8, column=2), "column is 2: expected 0 to 1"),
        (lambda: hide_labels(Data.from_arrays(x_train=np.zeros((20, 4, 4))), keep=8), "no labels to keep"),
    ],
)
def test_what_cannot_be_kept_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
