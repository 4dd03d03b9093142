"""The compiled step takes the eager one's steps: same draws, same sums, same weights."""

import pytest
import torch

import pyro_vaes as pv
from pyro_vaes.errors import InputError
from pyro_vaes.guides import MeanField
from pyro_vaes.losses import ELBO, ProgressiveELBO, SoftFreeBits, Warmup, default_loss
from pyro_vaes.training.compiled_step import CannotCompile, CompiledStep, _check_equal
from pyro_vaes.training.lr_schedules import Cosine
from pyro_vaes.training.step import EagerStep
from tests.helpers.compiled import GUIDES, SHAPE, assert_same_steps, needs_compiler, pair, steps


@needs_compiler
def test_equal_to_eager_with_a_schedule_and_averages():
    assert_same_steps(pair, lambda: ELBO(beta=Warmup(steps=3)), ema=0.9)


def normalized():
    """A pair of networks with batch normalization, whose encoder sees noisy images."""
    vae, guide = pair()
    for network in (vae.decoder, guide.encoder):
        pv.networks.batch_normalize(network)
    guide.encoder = pv.networks.NoisyInput(guide.encoder)
    return vae, guide


@needs_compiler
@pytest.mark.skipif(
    torch.__version__ < "2.13", reason="under torch 2.11 this compiled step differs from the eager one, and is refused"
)
def test_equal_to_eager_with_batch_norm_and_noise():
    """Weights, sums and running averages, of which those of the trial are taken back."""
    buffers = []

    def kept():
        made = normalized()
        buffers.append([value for module in made for value in module.buffers()])
        return made

    assert_same_steps(kept, ELBO)
    torch.testing.assert_close(*buffers, rtol=1e-4, atol=1e-5)


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("guide", GUIDES)
def test_equal_to_eager_under_every_guide(guide):
    assert_same_steps(lambda: pair(guide), lambda: default_loss(pair(guide)[1]))


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("name", ["ladder", "hierarchical", "mixture", "ladder-mixture"])
def test_equal_to_eager_for_several_latents(name):
    settings = {"latent_dim": (2, 2), "hidden": (8, 8)} if name != "mixture" else {"latent_dim": 2, "hidden": (8,)}
    changed = pv.recipes.RECIPES[name].small.__class__(
        **{**vars(pv.recipes.RECIPES[name].small), **settings, "likelihood": "gaussian"}
    )

    def make():
        system = pv.recipes.build_seeded(pv.recipes.RECIPES[name], SHAPE, changed, seed=0)
        return system.model, system.guide

    assert_same_steps(make, ELBO)


@needs_compiler
def test_fit_trains_with_it():
    x = torch.rand(70, *SHAPE)
    data = pv.data.Data.from_arrays(x_train=x, x_valid=x[:5], x_test=x[:5])
    histories = [
        pv.fit(*pair(), data, epochs=2, batch_size=16, step=step, device="cpu", progress=False).history
        for step in ("eager", "compiled")
    ]
    for one, other in zip(*histories, strict=True):
        assert one["valid_elbo"] == pytest.approx(other["valid_elbo"], rel=1e-4)
        assert one["train_elbo"] == pytest.approx(other["train_elbo"], rel=1e-4)


def test_fit_says_what_cannot_be_compiled():
    data = pv.data.Data.from_arrays(x_train=torch.rand(20, *SHAPE))
    with pytest.raises(InputError, match=r"cannot be compiled: SoftFreeBits keeps .* Take step='eager'"):
        pv.fit(*pair(), data, SoftFreeBits(target=1.0), epochs=1, step="compiled", device="cpu", progress=False)


@pytest.mark.parametrize("loss", [SoftFreeBits(target=1.0), ProgressiveELBO(steps=4)])
def test_losses_with_a_state_are_not_captured(loss):
    with pytest.raises(CannotCompile, match="a state of its own"):
        steps(CompiledStep, *pair(), loss, [torch.rand(5, *SHAPE)])


def test_what_looks_at_its_values_is_not_captured():
    class Branching(MeanField):
        def posterior(self, x):
            if self.head.bias.sum() > 1e6:  # a branch on data
                raise AssertionError
            return super().posterior(x)

    vae, _ = pair()
    with pytest.raises(CannotCompile):
        steps(CompiledStep, vae, Branching(vae, pv.networks.MLPEncoder(SHAPE, (8,))), ELBO(), [torch.rand(5, *SHAPE)])


def test_a_fed_schedule_is_in_the_place_of_the_steps():
    loss = ELBO(beta=Warmup(steps=4))
    loss.num_steps = 2
    assert loss.kl_weight() == 0.5
    with loss.with_schedule(torch.tensor([0.25])):
        assert loss.kl_weight() == 0.25
    assert loss.kl_weight() == 0.5


class Centred(pv.networks.MLPDecoder):
    """A decoder whose features have a mean of 0, so that the gradient of the last bias's mean is one of rounding."""

    def __init__(self, scale):
        super().__init__(3, SHAPE, (8,))
        self.shift, self.scale = torch.nn.Parameter(torch.zeros(())), scale

    def forward(self, z):
        features = super().forward(z) + self.shift
        return self.scale * (features - features.mean((-3, -2, -1), keepdim=True))


class Shifted(pv.networks.MLPDecoder):
    """A decoder with two weights of one gradient, and one whose gradient is an expanded number."""

    def __init__(self):
        super().__init__(3, SHAPE, (8,))
        self.one, self.other, self.whole = (torch.nn.Parameter(torch.zeros(SHAPE)) for _ in range(3))

    def forward(self, z):
        return super().forward(z) + (self.one + self.other) + 0.01 * self.whole.sum()


class Tiny(pv.networks.MLPDecoder):
    """A decoder with a weight that hardly matters."""

    def __init__(self):
        super().__init__(3, SHAPE, (8,))
        self.shift = torch.nn.Parameter(torch.zeros(()))

    def forward(self, z):
        return super().forward(z) + 1e-13 * self.shift


@needs_compiler
@pytest.mark.parametrize(
    "optimizer", ["adam", pytest.param("sgd(momentum=0.9, nesterov=True)", marks=pytest.mark.slow)]
)
def test_gradients_have_memory_of_their_own(optimizer):
    def make():
        torch.manual_seed(0)
        vae = pv.VAE(Shifted(), pv.priors.StandardNormal(3), pv.likelihoods.Gaussian())
        return vae, MeanField(vae, pv.networks.MLPEncoder(SHAPE, (8,)))

    assert_same_steps(make, ELBO, optimizer=optimizer, clip_norm=0.5)
    step = steps(CompiledStep, *make(), ELBO(), [torch.rand(5, *SHAPE)])[2]
    assert len({weight.grad.untyped_storage().data_ptr() for weight in step.weights}) == len(step.weights)


@needs_compiler
def test_equal_to_eager_over_many_steps_with_all_options():
    """Those which come between the gradients and the weights."""
    options = {"optimizer": "adamw(weight_decay=0.1)", "clip_norm": 1.0, "lr_schedule": Cosine(50, warmup=10)}
    batches = [torch.rand(5, *SHAPE) for _ in range(50)]
    (one, first, _), (other, second, compiled) = (
        steps(kind, *pair(), ELBO(), batches, **options) for kind in (EagerStep, CompiledStep)
    )
    assert compiled.shape == batches[0].shape
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-5)


@needs_compiler
@pytest.mark.parametrize("decoder", [Tiny, lambda: Centred(1.0), lambda: Centred(100.0)])
def test_a_gradient_of_almost_0_does_not_bar_the_compilation(decoder):
    def make():
        torch.manual_seed(0)
        vae = pv.VAE(decoder(), pv.priors.StandardNormal(3), pv.likelihoods.Gaussian(0.1, learn=False))
        return vae, MeanField(vae, pv.networks.MLPEncoder(SHAPE, (8,)))

    x, step = torch.rand(5, *SHAPE), EagerStep(*make(), ELBO(), lr=1e-2)
    step.differentiate(x)
    whole = sum(weight.grad.norm() ** 2 for weight in step.weights).sqrt()
    assert step.model.decoder.shift.grad.abs() < 1e-6 * whole
    *_, compiled = steps(CompiledStep, *make(), ELBO(), [x])
    assert compiled.shape == x.shape


@pytest.mark.parametrize(
    ("gradients", "found", "same"),
    [
        ((1e4, 1e-3), (1e4, 5e-3), True),  # the second is what is left of terms of 1e4 that cancel
        ((1e4, 1e-12), (1e4, 0.0), True),
        ((1e4, 1.0), (1e4, 1.1), False),
        ((1.0, 1e-12), (1.0, 1e-3), False),
        ((1e-12,), (1e-12,), True),
        ((1.0, 1.0), (1.0, 1.01), False),
        ((1.0, 1.0), (1.0, float("nan")), False),
    ],
)
def test_gradients_are_compared_in_units_of_their_norm_and_of_rounding(gradients, found, same):
    one, other = ([torch.tensor([each]) for each in values] for values in (gradients, found))
    if same:
        _check_equal(one, other)
    else:
        with pytest.raises(CannotCompile, match="gradients differ"):
            _check_equal(one, other)
