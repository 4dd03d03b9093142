"""The contract of models with clusters and their guides."""

import copy

import pytest
import torch
from pyro.infer import Trace_ELBO, TraceEnum_ELBO

from pyro_vaes.evaluate import log_weights
from pyro_vaes.losses import ELBO
from pyro_vaes.models import LadderMixtureGuide, MixtureVAE
from pyro_vaes.testing.guides import assert_trains, gradients_are_finite
from pyro_vaes.testing.pairs import Pair
from tests.helpers.mixtures import BATCH, PAIRS, SHAPE, seeded

every_pair = pytest.mark.parametrize("make", PAIRS.values(), ids=PAIRS)


@every_pair
def test_shapes(make):
    model, guide, x, _ = make()
    assert model.sample(7).shape == (7, *SHAPE)
    for particles in (1, 3):
        terms = ELBO(particles).terms(model, guide, x)
        assert all(term.shape == (BATCH,) and term.isfinite().all() for term in terms.values())
        parts = sum(term for name, term in terms.items() if name.startswith("kl_")) if len(terms) > 2 else terms["kl"]
        torch.testing.assert_close(parts, terms["kl"])
    assert log_weights(model, guide, x, num_samples=6).shape == (6, BATCH)
    for probabilities in guide.clusters(x).values():
        torch.testing.assert_close(probabilities.sum(-1), torch.ones(BATCH))
    many = torch.stack([x, x.flip(0)])
    assert all(q.batch_shape == (2, BATCH) for q in guide.posteriors(many))


@every_pair
def test_trains_in_stock_svi(make):
    for loss in (TraceEnum_ELBO(max_plate_nesting=1), ELBO()):
        tried = make()
        if tried.guide.__class__ is LadderMixtureGuide and not tried.model.sites:
            loss = Trace_ELBO() if isinstance(loss, TraceEnum_ELBO) else loss
        if isinstance(tried.model, MixtureVAE) and len(tried.model.prior.logits) == 1:
            continue  # the only cluster's probability is 1 whatever its logits
        assert_trains(tried, loss)


@pytest.mark.parametrize("make", [make for name, make in PAIRS.items() if name != "one-component"])
def test_gradients_and_copies(make):
    gradients_are_finite(make)
    first = make()
    other = Pair(*copy.deepcopy(first))
    assert other.guide.vae is other.model
    before = other.snapshot()
    assert_trains(first, ELBO())
    assert not other.moved(before)


@every_pair
def test_state_dict_float64_and_a_batch_of_one(make):
    (model, guide, x, _), (other, other_guide, *_) = make(), make()
    other.load_state_dict(model.state_dict())
    other_guide.load_state_dict(guide.state_dict())
    found = [seeded(ELBO().terms, *pair, x) for pair in ((model, guide), (other, other_guide))]
    torch.testing.assert_close(*found, rtol=0, atol=0)
    one = ELBO(num_particles=2).terms(model.double(), guide.double(), x[:1].double())
    assert all((term.shape, term.dtype) == ((1,), torch.float64) for term in one.values())
