"""Coloured digits: independent factors, labels that the pixels bear out."""

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import chi2_contingency

from pyro_vaes.data import FACTORS, coloured, load
from pyro_vaes.data.coloured_digits import BACKGROUNDS, INKS, JITTER, THICKNESSES
from pyro_vaes.data.sources import Source
from pyro_vaes.errors import InputError


def squares(n, side=28, width=8):
    """Images of a square of full ink in the middle."""
    images = np.zeros((n, side, side), dtype=np.uint8)
    inside = slice((side - width) // 2, (side + width) // 2)
    images[:, inside, inside] = 255
    return images


def nearest(pixels, palette):
    colors = np.array(list(palette.values()))
    return np.abs(pixels[:, None].astype(int) - colors).max(-1).argmin(1)


@pytest.mark.parametrize(("side", "width"), [(28, 8), (8, 4)])
def test_the_colours_are_in_the_pixels(side, width):
    images, labels = coloured(squares(2000, side, width), np.arange(2000) % 10)
    corner, middle = images[:, :, 0, 0], images[:, :, side // 2, side // 2]
    assert np.array_equal(nearest(middle, INKS), labels[:, FACTORS.index("ink")])
    assert np.array_equal(nearest(corner, BACKGROUNDS), labels[:, FACTORS.index("background")])
    assert np.array_equal(labels[:, FACTORS.index("digit")], np.arange(2000) % 10)
    assert (images.shape, images.dtype) == ((2000, 3, side, side), "uint8")
    assert (labels.shape, labels.dtype) == ((2000, 4), "int64")
    assert len(np.unique(corner, axis=0)) > 500, "colors are constants"


def test_colours_stay_apart_whatever_their_changes():
    colors = np.array([*INKS.values(), *BACKGROUNDS.values()])
    for one, other in itertools.combinations(colors, 2):
        assert abs(one - other).max() > 2 * JITTER, (one, other)
    assert min(map(sum, INKS.values())) > max(map(sum, BACKGROUNDS.values())) + 6 * JITTER


@pytest.mark.parametrize("side", [8, 28])
def test_thickness_grows_the_stroke(side):
    gray = load("digits").test.pixels[:, 0].numpy().repeat(6, 0) * 15
    if side == 28:
        gray = np.pad(gray.repeat(3, 1).repeat(3, 2), ((0, 0), (2, 2), (2, 2)))
    images, labels = coloured(gray, np.zeros(len(gray), dtype=int))
    colors = [np.array(list(each.values()))[labels[:, i]].astype(float) for i, each in ((1, INKS), (2, BACKGROUNDS))]
    ink, background = (each[..., None, None] for each in colors)
    stroke = ((images - background) / (ink - background + 1e-9)).mean((1, 2, 3))
    means = [stroke[labels[:, 3] == i].mean() for i in range(len(THICKNESSES))]
    ratios = np.diff(means) / means[1]
    assert (ratios > 0.15).all(), means


def test_normal_strokes_are_the_images_own():
    gray = np.random.default_rng(0).integers(0, 256, (60, 28, 28)).astype(np.uint8)
    images, labels = coloured(gray, np.zeros(60, dtype=int))
    for image, own in zip(images[labels[:, 3] == 1], gray[labels[:, 3] == 1], strict=True):
        for channel in image:  # a pixel is (1 - s) background + s ink, so that one line fits each channel
            slope, intercept = np.polyfit(own.ravel(), channel.ravel(), 1)
            assert abs(slope * own + intercept - channel).max() < 0.75


def test_factors_are_uniform_and_independent():
    digits = np.random.default_rng(1).integers(10, size=20_000)
    _, labels = coloured(squares(20_000, 4, 2), digits)
    sizes = (10, len(INKS), len(BACKGROUNDS), len(THICKNESSES))
    for (i, one), (j, other) in itertools.combinations(enumerate(sizes), 2):
        table = np.histogram2d(labels[:, i], labels[:, j], bins=(range(one + 1), range(other + 1)))[0]
        assert chi2_contingency(table).pvalue > 1e-3, (FACTORS[i], FACTORS[j])
        assert table.min() > 0.7 * len(labels) / (one * other)


def test_the_seed_fixes_everything():
    gray, digits = squares(50), np.arange(50) % 10
    first, again, other = (coloured(gray, digits, seed) for seed in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[1], other[1])
    assert np.array_equal(coloured(torch.from_numpy(gray)[:, None], torch.from_numpy(digits), 3)[0], first[0])


@pytest.mark.parametrize("seed", range(6))
def test_a_single_image_of_any_thickness(seed):
    images, labels = coloured(squares(1), [7], seed)
    assert (images.shape, labels.shape, labels[0, 0]) == ((1, 3, 28, 28), (1, 4), 7)


@pytest.mark.parametrize(
    ("images", "digits", "message"),
    [
        (np.zeros((3, 4, 4)), np.zeros(3, int), r"images are float32 .*expected grayscale uint8 images"),
        (np.zeros((3, 3, 8, 8), "uint8"), np.zeros(3, int), r"images are uint8 of shape \(3, 3, 8, 8\)"),
        (np.zeros((3, 16), "uint8"), np.zeros(3, int), r"images are uint8 of shape \(3, 16\)"),
        (np.zeros((3, 4, 4), "uint8"), np.zeros(2, int), r"digits are int64 of shape \(2,\): .*each of the 3 images"),
        (np.zeros((3, 4, 4), "uint8"), np.zeros(3), r"digits are float64"),
    ],
)
def test_what_cannot_be_coloured_is_refused(images, digits, message):
    with pytest.raises(InputError, match=message):
        coloured(images, digits)


def test_the_embedded_digits_in_colour():
    gray, data, again, other = (
        load("digits"),
        load("coloured-digits"),
        load("coloured-digits"),
        load("coloured-digits", seed=1, train_size=100),
    )
    assert data.description == (
        "coloured-digits: 1294 train, 143 valid, 360 test, 3x8x8; dequantized with uniform noise (256 bins); "
        "y holds digit, ink, background, thickness"
    )
    for part in ("train", "valid", "test"):  # the base set's splits, digit for digit
        assert torch.equal(getattr(data, part).y[:, 0], getattr(gray, part).y)
        assert torch.equal(getattr(data, part).pixels, getattr(again, part).pixels)
    assert torch.equal(data.test.pixels, other.test.pixels)
    assert torch.equal(data.test.y, other.test.y)
    thin = data.test.y[:, 3] < 2
    corner = data.test.pixels[thin][:, :, 0, 0].numpy()
    assert np.array_equal(nearest(corner, BACKGROUNDS), data.test.y[thin, 2].numpy())


def test_mnist_in_colour_comes_from_the_root(monkeypatch, tmp_path):
    asked, x, y = [], squares(40), np.arange(40)

    def mnist(name, root, download):
        asked.append((name, root))
        return Source({"x_train": x, "y_train": y, "x_test": x, "y_test": y})

    monkeypatch.setattr("pyro_vaes.data.sources._torchvision", mnist)
    data = load("coloured-mnist", root=tmp_path)
    assert asked == [("mnist", tmp_path)]
    assert (data.name, data.event_shape, data.train.y.shape) == ("coloured-mnist", (3, 28, 28), (36, 4))
    assert data.test.y[:, 0].tolist() == list(range(40))
    training = coloured(x, y)[1]
    assert not np.array_equal(training[:, 1:], data.test.y[:, 1:].numpy()), "both splits have the same factors"
