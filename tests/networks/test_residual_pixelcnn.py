"""PixelCNNs of masked square convolutions: what each pixel sees, by gradients, and the arrangement of their blocks."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from pyro_vaes.errors import InputError
from pyro_vaes.networks import ResidualPixelCNN, SkipPixelCNN
from tests.helpers.windows import seen_by

SHAPE, MAPS = (1, 8, 9), 2


def seen_through(kernel_sizes, shape):
    """What each pixel sees through a masked layer of type A and further ones of type B, blind spot included."""
    places = list(itertools.product(range(shape[1]), range(shape[2])))

    def before(place, size, own):
        reach = size // 2
        near = ((place[0] + i, place[1] + j) for i in range(-reach, 1) for j in range(-reach, reach + 1))
        return {other for other in near if other in places and (other < place or (own and other == place))}

    seen = {place: before(place, kernel_sizes[0], own=False) for place in places}
    for size in kernel_sizes[1:]:
        seen = {place: set().union(*(seen[other] for other in before(place, size, own=True))) for place in places}
    return seen


@pytest.mark.parametrize(
    ("network", "kernel_sizes"),
    [
        (ResidualPixelCNN(SHAPE, MAPS, layers=1, channels=4), (3,)),
        (ResidualPixelCNN(SHAPE, MAPS, layers=4, channels=4), (3, 3, 3, 3)),
        (ResidualPixelCNN(SHAPE, MAPS, layers=4, channels=4, tied=True), (3, 3, 3, 3)),
        (ResidualPixelCNN(SHAPE, MAPS, layers=2, kernel_size=5, channels=4), (5, 5)),
        (SkipPixelCNN(SHAPE, MAPS, kernel_sizes=(5, 3, 3, 3), channels=4), (5, 3, 3, 3)),
    ],
)
def test_the_preceding_pixels_in_reach_are_seen(network, kernel_sizes):
    """Through skip connections no more is seen than through the blocks that they pass by."""
    assert seen_by(network, SHAPE, MAPS) == seen_through(kernel_sizes, SHAPE)


def test_the_published_lossy_decoder_sees_six_rows_and_columns():
    network = ResidualPixelCNN((1, 16, 16), MAPS, layers=6, channels=4, tied=True)
    assert (len(network.masked), len(network.pointwise), network.repeats) == (1, 4, 5)
    seen = seen_by(network, (1, 16, 16), MAPS)[10, 8]
    assert (min(r for r, _ in seen), min(c for _, c in seen), max(c for _, c in seen)) == (4, 2, 14)


@torch.no_grad()
def test_skips_pass_two_outputs():
    network = SkipPixelCNN(SHAPE, MAPS, kernel_sizes=(7, 7, 7, 5, 5, 3, 3), channels=4)
    assert (len(network.blocks), len(network.skips)) == (6, 5)
    x, maps = torch.rand(2, *SHAPE), torch.randn(2, MAPS, *SHAPE[1:])

    def block(module, value):
        return F.elu(value + torch.nn.Sequential(*module)(value))

    values = [F.elu(network.first(x, maps))]
    for index, module in enumerate(network.blocks, 1):
        skipped = block(network.skips[index - 3], values[index - 3]) if index >= 3 else 0
        values.append(block(module, values[-1] + skipped))
    expected = values[-1] + block(network.skips[4], values[4])
    torch.testing.assert_close(network(x, maps), expected.movedim(1, -1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ResidualPixelCNN(SHAPE, MAPS, kernel_size=4), "kernel size is 4: expected an odd"),
        (lambda: ResidualPixelCNN(SHAPE, MAPS, layers=0), "layers is 0"),
        (lambda: SkipPixelCNN(SHAPE, MAPS, kernel_sizes=(7, 3)), "three or more"),
        (lambda: SkipPixelCNN(SHAPE, MAPS, kernel_sizes=(7, 4, 3)), "kernel size is 4"),
        (lambda: SkipPixelCNN(SHAPE, MAPS, channels=5), "channels is 5: expected an even"),
        (lambda: SkipPixelCNN((5,), MAPS), "needs images"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
