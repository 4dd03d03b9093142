"""Ladders against the plain VAE and closed forms."""

import copy

import pytest
import torch
from torch import nn

import pyro_vaes as pv
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate import log_likelihood
from pyro_vaes.guides import MeanField
from pyro_vaes.likelihoods import Gaussian
from pyro_vaes.losses import ELBO
from pyro_vaes.losses.schedules import ExponentialWarmup
from pyro_vaes.models import ConditionalNormal, HierarchicalGuide, HierarchicalVAE, LadderGuide, LadderVAE
from pyro_vaes.networks import MLPDecoder, MLPEncoder
from pyro_vaes.networks.ladder import LadderConvDecoder, LadderConvEncoder, LadderMLPDecoder, LadderMLPEncoder
from pyro_vaes.priors import StandardNormal
from tests.helpers.hierarchies import BATCH, SHAPE, SIZES, Fixed, hierarchy, ladder, set_linear
from tests.helpers.linear_gaussian import LinearGaussian


class OnlyLevel(nn.Module):
    """Networks of a ladder of one level as those of a plain VAE."""

    def __init__(self, decoder, encoder):
        super().__init__()
        self.decoder, self.encoder = decoder, encoder

    def forward(self, z):
        return self.decoder([z])


@pytest.mark.parametrize(
    ("decoder", "encoder"),
    [
        (LadderMLPDecoder((2,), SHAPE, ((8, 6),)), LadderMLPEncoder(SHAPE, ((8, 6),))),
        (LadderConvDecoder((2,), SHAPE, (4,), hidden=8), LadderConvEncoder(SHAPE, (4,), hidden=8)),
    ],
    ids=["mlp", "conv"],
)
def test_a_ladder_of_one_level_is_the_vae(decoder, encoder):
    model = LadderVAE(decoder, [StandardNormal(2)], Gaussian(0.5))
    guide = LadderGuide(model, encoder)
    vae = pv.VAE(OnlyLevel(decoder, encoder), model.priors["z"], model.likelihood)
    last = nn.Sequential()
    last.forward, last.out_features = (lambda x: encoder(x)[0]), encoder.out_features[0]
    plain = MeanField(vae, last)
    plain.head = guide.heads["z"]
    x = torch.rand(BATCH, *SHAPE)
    z = torch.randn(5, BATCH, 2)
    torch.testing.assert_close(model.log_joint(x, z), vae.log_joint(x, z), rtol=0, atol=0)
    objectives = []
    for pair in ((vae, plain), (model, guide)):
        torch.manual_seed(1)
        terms = ELBO(num_particles=3).terms(*pair, x)
        assert "z" in pv.traces.paired_traces(*pair, x)[0].nodes
        objectives.append(terms)
    torch.testing.assert_close(*objectives, rtol=0, atol=1e-5)


def test_likelihood_of_a_linear_ladder():
    linear = LinearGaussian(latent_dim=3, event_shape=(8,))

    class Joined(nn.Sequential):
        def forward(self, z):
            return super().forward(torch.cat(z, -1))

    model = LadderVAE(Joined(linear.vae.decoder), [StandardNormal(1), StandardNormal(2)], linear.vae.likelihood)
    guide = LadderGuide(model.double(), Fixed(8, levels=2)).double()
    scale = linear.mean_field_scale
    for head, part in zip(guide.heads.values(), (slice(0, 1), slice(1, 3)), strict=True):
        set_linear(head, linear.gain[part], scale[part])
        with torch.no_grad():
            head.bias[: len(head.bias) // 2] = -linear.gain[part] @ linear.bias
    objective, _ = ELBO(num_particles=1000).objective(model, guide, linear.x)
    torch.testing.assert_close(objective, linear.log_evidence - linear.mean_field_gap, rtol=0, atol=0.5)
    estimate = log_likelihood(model, guide, linear.x, num_samples=2000)
    torch.testing.assert_close(estimate.per_datum, linear.log_evidence, rtol=0, atol=0.5)


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_fit(network):
    data = pv.data.load("digits")
    size = data.event_shape
    if network == "mlp":
        decoder, encoder = LadderMLPDecoder((2, 2), size, ((16,), (8,))), LadderMLPEncoder(size, ((16,), (8,)))
    else:
        decoder, encoder = LadderConvDecoder((2, 2), size, (4, 8), 16), LadderConvEncoder(size, (4, 8), 16)
    model = LadderVAE(decoder, [StandardNormal(2), StandardNormal(2)], Gaussian())
    loss = ELBO(beta=ExponentialWarmup(steps=10))
    run = pv.fit(model, LadderGuide(model, encoder), data, loss=loss, epochs=2, progress=False)
    assert run.history[1]["valid_elbo"] > run.history[0]["valid_elbo"]
    assert run.history[0]["kl_z1"] + run.history[0]["kl_z2"] == pytest.approx(run.history[0]["kl"], rel=1e-4)


def test_every_level_moves_the_picture():
    for make in (ladder, lambda: ladder("conv"), lambda: ladder("conv", "concatenate")):
        model = make().model
        z = [torch.zeros(1, size) for size in SIZES]
        middle = model.decode(*z)
        for level, size in enumerate(SIZES):
            moved = copy.copy(z)
            moved[level] = torch.ones(1, size)
            assert not torch.equal(model.decode(*moved), middle), f"level {level + 1} is not used"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: LadderMLPDecoder((2, 0, 2), SHAPE), r"latent_dims is \(2, 0, 2\): expected positive whole numbers"),
        (lambda: LadderMLPDecoder((2, 2), SHAPE), "2 latent_dims .* but the networks have 3 levels"),
        (lambda: LadderMLPDecoder((2, 2), SHAPE, ()), "expected the sizes of each level"),
        (lambda: LadderMLPEncoder(SHAPE, ((8,), ())), "hidden of level 2 is"),
        (lambda: LadderMLPDecoder((2,), SHAPE, ((8,),), merge="gat"), "unknown merge 'gat': did you mean 'gate'"),
        (lambda: LadderConvEncoder(SHAPE, (4,) * 4), "4 stride-2 stages do not fit an image of 6 x 5: the most is 3"),
        (lambda: LadderConvDecoder((2,) * 4, SHAPE, (4,) * 4), "do not fit an image of 6 x 5: the most is 3"),
        (
            lambda: LadderGuide(ladder().model, LadderMLPEncoder(SHAPE, ((8,),))),
            r"features of the sizes \(8,\), but the model has 3 latents",
        ),
        (lambda: LadderGuide(ladder().model, MLPEncoder(SHAPE)), "set its attribute `out_features`"),
        (lambda: ladder(priors=[StandardNormal(2)] * 3), r"does not take latents of the sizes \(2, 2, 2\)"),
        (lambda: ladder(priors=[StandardNormal(2)]), "decoder has 3 levels, but was given 1"),
        (lambda: HierarchicalGuide(hierarchy().model, [MLPEncoder(SHAPE)]), "1 encoders, but the model has 3 latents"),
        (
            lambda: HierarchicalVAE(
                MLPDecoder(2, SHAPE), StandardNormal(3), [ConditionalNormal(MLPEncoder((4,)), 2)], Gaussian()
            ),
            "conditional of level 1 does not take latents of level 2, of size 3",
        ),
    ],
)
def test_bad_input_is_refused(build, message):
    with pytest.raises(InputError, match=message):
        build()
