"""The network of PixelCNN++: causal by gradients with and without a window, and exact probabilities of images."""

import itertools

import pytest
import torch

from pyro_vaes.errors import InputError
from pyro_vaes.likelihoods import PixelCNNPP
from pyro_vaes.networks import DownsamplingPixelCNN
from tests.helpers.windows import assert_window, seen_by

SHAPE, MAPS = (1, 7, 8), 2
LEVELS, SMALL = 4, (3, 2, 2)


@pytest.mark.parametrize("resolutions", [1, 2, 3])
@pytest.mark.parametrize("shape", [(1, 7, 9), (3, 8, 8), (3, 2, 2), (1, 5, 2)])
def test_only_preceding_pixels_are_seen(shape, resolutions):
    network = DownsamplingPixelCNN(shape, MAPS, resolutions=resolutions, blocks=1, channels=4)
    for place, seen in seen_by(network, shape, MAPS).items():
        assert all(other < place for other in seen)


@pytest.mark.parametrize("shape", [(1, 7, 9), (3, 8, 8), (3, 2, 2)])
def test_three_resolutions_see_all_preceding_pixels(shape):
    network = DownsamplingPixelCNN(shape, MAPS, blocks=2, channels=4)
    places = list(itertools.product(range(shape[1]), range(shape[2])))
    for place, seen in seen_by(network, shape, MAPS).items():
        assert seen == {other for other in places if other < place}


@pytest.mark.parametrize("blocks", [1, 2, 4])
@pytest.mark.parametrize("window", [(2, 1), (4, 3), (7, 4), (5, 6), (15, 6)])
def test_a_window_is_exact(window, blocks):
    network = DownsamplingPixelCNN(SHAPE, MAPS, window, blocks=blocks, channels=4)
    assert len(network.first_half) == 1
    assert_window(network, window, SHAPE, MAPS)


@pytest.mark.parametrize("window", [None, (2, 1), (4, 3), (7, 4), (15, 6)])
def test_generation_has_the_hidden_units_of_the_whole_image(window):
    """Though each pixel is drawn from a pass over its window alone."""
    network, drawn = DownsamplingPixelCNN(SHAPE, MAPS, window, blocks=2, channels=4).double(), []

    def draw(hidden):
        drawn.append(hidden)
        return torch.rand(len(hidden), SHAPE[0]).double()

    with torch.no_grad():
        maps = torch.randn(3, MAPS, *SHAPE[1:]).double()
        x = network.generate(maps, draw)
        torch.testing.assert_close(torch.stack(drawn, 1), network(x, maps).flatten(1, 2))


def test_the_feature_maps_reach_every_pixel():
    network = DownsamplingPixelCNN(SHAPE, MAPS, blocks=1, channels=4)
    maps = torch.randn(1, MAPS, *SHAPE[1:], requires_grad=True)
    for hidden in network(torch.rand(1, *SHAPE), maps).flatten(1, 2)[0]:
        (slope,) = torch.autograd.grad(hidden.square().sum(), maps, retain_graph=True)
        assert slope.ne(0).all(1).any()


def test_probabilities_of_all_small_colour_images_sum_to_one():
    """Over 4¹² images; hidden units at the last pixel do not depend on its value, as the tests of causality show."""
    likelihood = PixelCNNPP(SMALL, MAPS, num_bins=LEVELS, components=1, blocks=1, channels=4)
    features = 2 * torch.randn(1, MAPS, 2, 2)
    pixels = torch.cartesian_prod(*[torch.linspace(0, 1, LEVELS)] * 3)
    total = 0.0
    with torch.no_grad():
        for first in pixels:  # of 64, each with all values of the three other pixels
            index = torch.cartesian_prod(*[torch.arange(len(pixels))] * 2)
            images = torch.stack(
                [first.expand(len(index), 3), *pixels[index].unbind(1), pixels[0].expand(len(index), 3)]
            )
            x = images.permute(1, 2, 0).reshape(-1, *SMALL)
            hidden = likelihood.network(x, features.expand(len(x), -1, -1, -1)).flatten(1, 2)
            before = likelihood.head.log_prob(hidden[:, :3], x.flatten(2).mT[:, :3]).sum(-1)
            last = likelihood.head.log_prob(hidden[:, 3:], pixels)
            total += (before.unsqueeze(-1) + last).double().exp().sum().item()
    assert total == pytest.approx(1, abs=1e-4)
    value = pixels[torch.randint(len(pixels), (5, 4))].mT.reshape(-1, *SMALL)
    hidden = likelihood.network(value, features.expand(5, -1, -1, -1))
    expected = likelihood.head.log_prob(hidden, value.movedim(1, -1)).sum((1, 2))
    torch.testing.assert_close(likelihood(features[0]).log_prob(value), expected)


def test_dropout_is_off_in_evaluation():
    network = DownsamplingPixelCNN(SHAPE, MAPS, blocks=1, channels=8, dropout=0.5)
    x, maps = torch.rand(2, *SHAPE), torch.randn(2, MAPS, *SHAPE[1:])
    assert not torch.equal(network(x, maps), network(x, maps))
    network.eval()
    assert torch.equal(network(x, maps), network(x, maps))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window": (7, 4), "resolutions": 3}, "resolutions is 3, but lower resolutions see more than the window"),
        ({"window": (7, 9)}, "7 x 9 is too large"),
        ({"blocks": 0}, "blocks is 0"),
        ({"resolutions": -1}, "resolutions is -1"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"event_shape": (5,)}, "needs images"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        DownsamplingPixelCNN(**({"event_shape": SHAPE, "features": MAPS} | arguments))
