"""Data-dependent initialization: once, of what has not learned yet, and of clusters anew."""

import copy

import pytest
import torch

from pyro_vaes import VAE, load, save
from pyro_vaes.data import Data
from pyro_vaes.errors import InputError
from pyro_vaes.guides import InverseAutoregressiveFlow, MeanField
from pyro_vaes.likelihoods import Gaussian, Standardized
from pyro_vaes.models import LadderGuide, LadderVAE
from pyro_vaes.networks import LadderMLPDecoder, LadderMLPEncoder, MLPDecoder, MLPEncoder
from pyro_vaes.priors import AutoregressiveFlow, GaussianMixture, StandardNormal, VampPrior
from pyro_vaes.training.callbacks import Callback
from pyro_vaes.training.ema import Average
from tests.helpers.training import BATCH, SHAPE, STEPS, assert_equal, clustered, pixels, train, weights

OTHER = Data.from_arrays(x_train=pixels() // 4, x_test=pixels(20) // 4)  # a quarter as wide


def vamp(likelihood=Gaussian):
    vae = VAE(MLPDecoder(2, SHAPE, (16,)), VampPrior(2, components=3), likelihood())
    return vae, MeanField(vae, MLPEncoder(SHAPE, (16,)))


def ladder():
    decoder = LadderMLPDecoder((2, 1), SHAPE, ((8,), (8,)))
    model = LadderVAE(decoder, [GaussianMixture(2, 2), StandardNormal(1)], Gaussian())
    return model, LadderGuide(model, LadderMLPEncoder(SHAPE, ((8,), (8,))))


def vamp_with_scales():
    return vamp(lambda: Gaussian(shape=SHAPE))


def by_state_dict(pair, make, folder):
    others = make()
    for module, other in zip(pair, others, strict=True):
        other.load_state_dict(module.state_dict())
    return others


def by_file(pair, make, folder):
    save(folder / "pair.pt", *pair)
    return load(folder / "pair.pt", *make())


def by_copy(pair, make, folder):
    return copy.deepcopy(pair)


@pytest.mark.parametrize("carry", [by_state_dict, by_file, by_copy])
@pytest.mark.parametrize("make", [vamp, ladder, vamp_with_scales])
def test_what_was_learned_is_kept(tmp_path, make, carry):
    pair = make()
    train(pair)
    others = carry(pair, make, tmp_path)
    for module in others:
        module.requires_grad_(False)
    next(others[1].parameters()).requires_grad_(True)  # the one weight that is trained
    before = weights(others)
    train(others, OTHER, lr=1e-9, epochs=1)
    kept = [name for name in before if "log_scale" in name or "prior" in name]
    assert len(kept) >= 3
    assert_equal({name: weights(others)[name] for name in kept}, {name: before[name] for name in kept})


@pytest.mark.parametrize("carry", [by_state_dict, by_file, by_copy])
@pytest.mark.parametrize("make", [vamp, vamp_with_scales])
def test_what_has_not_learned_is_initialized(tmp_path, make, carry):
    expected, others = make(), carry(make(), make, tmp_path)
    for pair in (expected, others):
        train(pair, lr=1e-12, epochs=1)
    names = ("log_scale", "pseudo_logits")
    found, wanted = (
        {name: value for name, value in weights(pair).items() if name.endswith(names)} for pair in (others, expected)
    )
    assert len(found) == 2
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)
    fresh = weights(make())
    assert not [name for name, value in found.items() if torch.allclose(value, fresh[name], atol=1e-3)]


def test_weights_of_an_untrained_model_undo_the_initialization():
    pair = vamp()
    train(pair)
    pair[0].load_state_dict(vamp()[0].state_dict())
    train(pair, OTHER, lr=1e-12, epochs=1)
    deviation = (OTHER.train.x - OTHER.train.x.mean(0)).square().mean().sqrt()
    assert pair[0].likelihood.log_scale.exp().item() == pytest.approx(deviation.item(), rel=0.05)


@pytest.mark.parametrize("words", ["3 components", "last batch"])
def test_a_refused_training_leaves_nothing_initialized(words):
    if words == "last batch":
        encoder = MLPEncoder(SHAPE, (8,)).append(torch.nn.BatchNorm1d(8))
        vae = VAE(MLPDecoder(2, SHAPE, (8,)), StandardNormal(2), Gaussian())
        pair, options = (vae, MeanField(vae, encoder)), {"batch_size": 85}
    else:
        pair, options = clustered(), {"data": Data.from_arrays(x_train=pixels(2), x_valid=pixels(2), x_test=pixels(2))}
    with pytest.raises(InputError, match=words):
        train(pair, **options)
    assert not pair[0].likelihood.initialized


@pytest.mark.parametrize("guide", [MeanField, InverseAutoregressiveFlow])
def test_the_trial_comes_after_the_initialization(guide):
    """Raw values, which are no input for an encoder, and codes of which a flow has no density."""
    torch.manual_seed(0)
    x = 1e5 * torch.randn(60, 3)
    vae = VAE(MLPDecoder(2, (3,), (8,)), AutoregressiveFlow(2, 2, (8,)), Standardized((3,), Gaussian()))
    data = Data.from_arrays(x_train=x, x_test=x[:10], kind="values")
    assert train((vae, guide(vae, MLPEncoder((3,), (8,)))), data, epochs=1).history


class Averages(Callback):
    """Restarts averages and moments by hand, and compares those of the training with them."""

    def __init__(self, decay):
        self.decay, self.fresh, self.compared = decay, None, 0

    def on_epoch_start(self, state, epoch):
        if epoch.number != 2:
            return
        self.changed = [
            place
            for place, (old, new) in enumerate(zip(self.last, state.step.weights, strict=True))
            if not torch.equal(old, new)
        ]
        self.fresh = Average([state.step.weights[place] for place in self.changed], self.decay)
        self.start = state.loss.num_steps
        for place in self.changed:
            assert not state.step.optimizer.state.get(state.step.weights[place])

    def on_step(self, state, epoch):
        self.last = [weight.detach().clone() for weight in state.step.weights]
        if self.fresh is not None:
            self.fresh.update(state.loss.num_steps - self.start)
            found = [state.step.average.values[place] for place in self.changed]
            torch.testing.assert_close(found, self.fresh.values, rtol=0, atol=0)
            steps = {int(each["step"]) for each in state.step.optimizer.state.values()}
            assert steps == {state.loss.num_steps, state.loss.num_steps - self.start}
            self.compared += 1


@pytest.mark.parametrize("optimizer", ["adam", "adamax"])
@pytest.mark.parametrize("decay", [0.5, 0.998])
def test_clusters_start_with_averages_and_moments_of_their_own(optimizer, decay):
    pair, check = clustered(), Averages(decay)
    train(pair, epochs=3, cluster_epoch=1, ema=decay, optimizer=optimizer, callbacks=[check])
    assert check.compared == 2 * STEPS
    names = [name for name, _ in (*pair[0].named_parameters(), *pair[1].named_parameters())]
    assert {names[place] for place in check.changed} >= {"prior.logits", "prior.locs", "prior.log_scales"}
    assert len(check.changed) < len(names), "the decoder was not set anew"


def test_the_clusters_are_those_that_are_validated():
    """Right after they were set, averaged and present components are the same."""
    seen = []

    class Compare(Callback):
        def on_epoch_start(self, state, epoch):
            if epoch.number == 2:
                present = state.model.prior.locs.detach().clone()
                with state.step.averaged():
                    seen.append(torch.equal(state.model.prior.locs, present))

    train(clustered(), epochs=2, batch_size=BATCH, cluster_epoch=1, ema=0.998, callbacks=[Compare()])
    assert seen == [True]
