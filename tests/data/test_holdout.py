"""Validation and test splits: their sizes, their seeds, and the order of what is left for training."""

import pytest

from pyro_vaes.data import Data
from pyro_vaes.errors import InputError
from tests.helpers.arrays import make, numbered, numbers


@pytest.mark.parametrize(("n", "n_valid"), [(5, 1), (99, 9), (25000, 2000)])
def test_validation_is_a_tenth_drawn_by_seed(n, n_valid):
    data, same, other = (make(numbered(n), seed=seed) for seed in (3, 3, 4))
    train, valid = numbers(data.train), numbers(data.valid)
    assert len(valid) == n_valid
    assert sorted(train + valid) == list(range(n))
    assert train == sorted(train)
    assert numbers(same.valid) == valid
    if n > 5:
        assert numbers(other.valid) != valid
    assert numbers(other.test) == numbers(data.test) == [0, 1, 2, 3, 4]


def test_validation_given_is_used():
    data = make(numbered(50), x_valid=numbered(60)[53:])
    assert numbers(data.train) == list(range(50))
    assert numbers(data.valid) == list(range(53, 60))
    assert numbers(make(numbered(50), x_valid=numbered(3), train_size=20).train) == list(range(20))


@pytest.mark.parametrize(("train_size", "n_train", "beyond"), [(50, 50, True), (91, 91, True), (92, 83, False)])
def test_train_size_takes_the_first(train_size, n_train, beyond):
    data = make(numbered(100), train_size=train_size)
    train, valid = numbers(data.train), numbers(data.valid)
    assert (len(train), len(valid)) == (n_train, train_size // 10)
    assert not set(train) & set(valid)
    if beyond:
        assert train == list(range(train_size))
        assert min(valid) >= train_size
    else:
        assert sorted(train + valid) == list(range(train_size))


@pytest.mark.parametrize("train_size", [-1, 0, 1, 2.5, "10", True])
def test_train_size_that_is_no_size(train_size):
    with pytest.raises(InputError, match=r"train_size is .*: give a whole number, 2 or more"):
        make(numbered(100), train_size=train_size)


def test_train_size_beyond_the_data():
    assert len(make(numbered(100), train_size=2).train) == 2
    with pytest.raises(InputError, match="train_size is 101, but there are 100 training images"):
        make(numbered(100), train_size=101)


def test_a_missing_test_split_is_drawn_by_seed():
    data, same = (Data.from_arrays(x_train=numbered(100), seed=3) for _ in range(2))
    assert [len(s) for s in (data.train, data.valid, data.test)] == [81, 9, 10]
    assert sorted(numbers(data.train) + numbers(data.valid) + numbers(data.test)) == list(range(100))
    assert numbers(data.test) == numbers(same.test)
    assert "test split: a tenth of x_train, drawn by seed 3" in data.description
    with pytest.raises(InputError, match="train_size is 91, but there are 90 training images"):
        Data.from_arrays(x_train=numbered(100), train_size=91)


def test_too_few_images_to_split():
    with pytest.raises(InputError, match=r"x_train has 1 of the 2 images .* the valid split"):
        make(numbered(1))
    with pytest.raises(InputError, match=r"x_train has 2 of the 3 images .* the valid and test split"):
        Data.from_arrays(x_train=numbered(2))
    assert len(make(numbered(1), x_valid=numbered(1)).train) == 1


@pytest.mark.parametrize("seed", [-1, 0.5, "0"])
def test_seed_that_is_no_seed(seed):
    with pytest.raises(InputError, match=r"seed is .*: give a whole number, 0 or more"):
        make(numbered(100), seed=seed)
