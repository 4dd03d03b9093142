"""Ladders and stacked hierarchies with their guides."""

import torch
from torch import nn

from pyro_vaes.likelihoods import Bernoulli
from pyro_vaes.losses import ELBO
from pyro_vaes.models import ConditionalNormal, HierarchicalGuide, HierarchicalVAE, LadderGuide, LadderVAE, TopDownGuide
from pyro_vaes.networks import MLPDecoder, MLPEncoder
from pyro_vaes.networks.ladder import LadderConvDecoder, LadderConvEncoder, LadderMLPDecoder, LadderMLPEncoder
from pyro_vaes.priors import GaussianMixture, StandardNormal, VampPrior
from pyro_vaes.testing.pairs import Pair
from tests.helpers.linear_gaussian import inverse_positive

SHAPE, SIZES, BATCH = (1, 6, 5), (2, 3, 1), 4
HIDDEN, CHANNELS = ((8,), (7, 6), (5,)), (4, 3, 2)


def ladder(network="mlp", merge="gate", priors=(), likelihood=Bernoulli):
    priors = priors or [StandardNormal(size) for size in SIZES]
    if network == "mlp":
        decoder, encoder = LadderMLPDecoder(SIZES, SHAPE, HIDDEN, merge), LadderMLPEncoder(SHAPE, HIDDEN)
    else:
        decoder = LadderConvDecoder(SIZES, SHAPE, CHANNELS, hidden=8, merge=merge, activation=nn.ELU)
        encoder = LadderConvEncoder(SHAPE, CHANNELS, hidden=8, activation=nn.ELU)
    model = LadderVAE(decoder, priors, likelihood())
    return paired(model, LadderGuide(model, encoder))


def hierarchy(guide=TopDownGuide):
    conditionals = [ConditionalNormal(MLPEncoder((above,), (8,)), below) for below, above in ((2, 3), (3, 1))]
    model = HierarchicalVAE(MLPDecoder(2, SHAPE, (8,)), StandardNormal(1), conditionals, Bernoulli())
    if guide is TopDownGuide:
        return paired(model, TopDownGuide(model, LadderMLPEncoder(SHAPE, HIDDEN)))
    return paired(model, HierarchicalGuide(model, [MLPEncoder(shape, (8,)) for shape in (SHAPE, (2,), (3,))]))


def paired(model, guide):
    return Pair(model, guide, model.sample(BATCH), ELBO())


PAIRS = {
    "mlp": ladder,
    "mlp-concatenate": lambda: ladder(merge="concatenate"),
    "conv": lambda: ladder("conv"),
    "conv-concatenate": lambda: ladder("conv", "concatenate"),
    "mixture-prior": lambda: ladder(priors=[StandardNormal(2), GaussianMixture(3, 4), StandardNormal(1)]),
    "vamp-prior": lambda: ladder(priors=[StandardNormal(2), VampPrior(3, components=4), StandardNormal(1)]),
    "top-down": hierarchy,
    "bottom-up": lambda: hierarchy(HierarchicalGuide),
}


class Fixed(nn.Module):
    """The input itself, as an encoder's features, of one level or several."""

    def __init__(self, size, levels=None):
        super().__init__()
        self.levels = levels
        self.out_features = (size,) * levels if levels else size

    def forward(self, x):
        return [x] * self.levels if self.levels else x


def set_linear(head, weight, scale):
    with torch.no_grad():
        head.weight.zero_()
        head.weight[: len(weight)] = weight
        head.bias.zero_()
        head.bias[len(weight) :] = inverse_positive(scale)
