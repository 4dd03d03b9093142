"""The contract of hierarchical models and their guides."""

import pytest
import torch
from pyro.infer import Trace_ELBO

from pyro_vaes.evaluate import log_weights
from pyro_vaes.losses import ELBO, IWAE
from pyro_vaes.testing.guides import assert_trains, copies_are_independent, gradients_are_finite
from tests.helpers.hierarchies import BATCH, PAIRS, SHAPE, SIZES

every_pair = pytest.mark.parametrize("make", PAIRS.values(), ids=PAIRS)


@every_pair
def test_shapes(make):
    model, guide, x, loss = make()
    assert model.sample(7).shape == (7, *SHAPE)
    z = [torch.randn(5, BATCH, size) for size in SIZES]
    assert model.decode(*z).shape == (5, BATCH, *SHAPE)
    log_joint = model.log_joint(x, *z)
    assert log_joint.shape == (5, BATCH)
    torch.testing.assert_close(log_joint[3], model.log_joint(x, *(each[3] for each in z)))
    for terms in (loss.terms(model, guide, x), ELBO(num_particles=3).terms(model, guide, x)):
        assert {name: term.shape for name, term in terms.items()} == dict.fromkeys(
            ("reconstruction", "kl", "kl_z1", "kl_z2", "kl_z3"), (BATCH,)
        )
    assert log_weights(model, guide, x, num_samples=6).shape == (6, BATCH)
    if hasattr(guide, "posteriors"):
        many = torch.stack([x, x.flip(0)])
        assert [q.batch_shape for q in guide.posteriors(many)] == [(2, BATCH)] * 3


@every_pair
def test_trains_in_stock_svi_and_under_the_losses(make):
    for loss in (Trace_ELBO(), ELBO(), IWAE(num_particles=2)):
        assert_trains(make(), loss)


@every_pair
def test_gradients_and_copies(make):
    gradients_are_finite(make)
    copies_are_independent(make)


@every_pair
def test_state_dict_float64_and_a_batch_of_one(make):
    (model, guide, x, _), (other, other_guide, *_) = make(), make()
    other.load_state_dict(model.state_dict())
    other_guide.load_state_dict(guide.state_dict())
    terms = []
    for pair in ((model, guide), (other, other_guide)):
        torch.manual_seed(3)
        terms.append(ELBO().terms(*pair, x))
    torch.testing.assert_close(*terms, rtol=0, atol=0)
    one = ELBO(num_particles=2).terms(model.double(), guide.double(), x[:1].double())
    assert all((term.shape, term.dtype) == ((1,), torch.float64) and term.isfinite().all() for term in one.values())
    assert model.sample(1).dtype == torch.float64


@every_pair
@torch.no_grad()
def test_elbo_is_the_mean_log_weight(make):
    (model, guide, x, _), draws = make(), 1000
    weights = log_weights(model, guide, x, draws)
    standard_error = weights.std(0) / draws**0.5
    objective = ELBO(num_particles=draws).objective(model, guide, x)[0]
    assert ((objective - weights.mean(0)).abs() < 8 * standard_error).all()
