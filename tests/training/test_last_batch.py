"""Last batches of one example, and batch norm."""

import pytest
from torch import nn

from pyro_vaes.errors import InputError
from pyro_vaes.guides import MeanField
from pyro_vaes.networks import MLPEncoder
from tests.helpers.training import SHAPE, assert_equal, build, train, weights


class Normed(MLPEncoder):
    """An encoder with batch norm at its end."""

    def __init__(self, norm=None):
        super().__init__(SHAPE, (8,))
        self.norm = norm or nn.BatchNorm1d(8)

    def forward(self, x):
        return self.norm(super().forward(x))


class Frozen(nn.BatchNorm1d):
    """Batch norm whose statistics stay."""

    def train(self, mode=True):
        return super().train(False)


class MapNorm(nn.Module):
    """Batch norm of feature maps, which has a variance of one image too."""

    def __init__(self):
        super().__init__()
        self.norm, self.net, self.out_features = nn.BatchNorm2d(1), MLPEncoder(SHAPE, (8,)), 8

    def forward(self, x):
        return self.net(self.norm(x))


def normed(encoder):
    vae, _ = build()
    return vae, MeanField(vae, encoder)


@pytest.mark.parametrize(
    ("batch_size", "advice"), [(85, "batch_size 84 or 86"), (17, "batch_size 16 or 18"), (1, "batch_size 2 or 3")]
)
def test_a_last_batch_of_one_is_refused_with_batch_norm(batch_size, advice):
    words = (
        rf"86 training examples in batches of {batch_size} the last .* \(BatchNorm1d\) has no variance: take {advice}$"
    )
    pair = normed(Normed())
    before = weights(pair)
    with pytest.raises(InputError, match=words):
        train(pair, batch_size=batch_size)
    assert_equal(weights(pair), before)
    for fitting in map(int, advice.split()[1::2]):
        assert len(train(normed(Normed()), batch_size=fitting, epochs=1).history) == 1


@pytest.mark.parametrize("encoder", [MapNorm, lambda: Normed(Frozen(8)), lambda: MLPEncoder(SHAPE, (8,))])
def test_a_last_batch_of_one_trains_where_it_can(encoder):
    assert len(train(normed(encoder()), batch_size=17, epochs=1).history) == 1


def test_a_try_of_one_example_leaves_the_statistics():
    counts = []
    for batch_size in (17, 18):
        norm = nn.BatchNorm2d(1)
        encoder = MapNorm()
        encoder.norm = norm
        train(normed(encoder), batch_size=batch_size, epochs=1)
        counts.append(int(norm.num_batches_tracked))
    assert counts == [6, 5]
