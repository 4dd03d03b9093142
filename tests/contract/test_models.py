"""The contract of models of several latents, and of models with clusters, by the checks that users run too."""

import pytest
import torch

from pyro_vaes.evaluate import log_weights
from pyro_vaes.losses import ELBO, IWAE
from pyro_vaes.testing import MODEL_CHECKS
from pyro_vaes.testing.models import copies_are_independent, gradients_are_finite, trains_in_stock_svi
from pyro_vaes.testing.training import assert_trains
from tests.helpers import hierarchies, mixtures

PAIRS = {**hierarchies.PAIRS, **mixtures.PAIRS}
#: The logits of a single cluster, whose probability is 1, receive no gradient.
EXCEPT = {"one-component": {gradients_are_finite, trains_in_stock_svi, copies_are_independent}}
CASES = [(name, check) for name in PAIRS for check in MODEL_CHECKS if check not in EXCEPT.get(name, ())]

every_pair = pytest.mark.parametrize("make", PAIRS.values(), ids=PAIRS)


@pytest.mark.parametrize(("name", "check"), CASES, ids=[f"{name}-{check.__name__}" for name, check in CASES])
def test_model(name, check):
    check(PAIRS[name])


@every_pair
@pytest.mark.parametrize("particles", [1, 3])
def test_terms(make, particles):
    model, guide, x, _ = make()
    terms = ELBO(particles).terms(model, guide, x)
    latents = {*model.sites, *make().cluster_sites()}
    each = {f"kl_{site}" for site in latents} if len(latents) > 1 else set()
    assert terms.keys() == {"reconstruction", "kl", *each}
    assert all(term.shape == x.shape[:1] and term.isfinite().all() for term in terms.values())
    torch.testing.assert_close(sum(terms[name] for name in each), terms["kl"])


@pytest.mark.parametrize("make", hierarchies.PAIRS.values(), ids=hierarchies.PAIRS)
def test_trains_under_iwae(make):
    assert_trains(make(), IWAE(num_particles=2))


@every_pair
@torch.no_grad()
def test_elbo_is_the_mean_log_weight(make):
    (model, guide, x, _), draws = make(), 1000
    weights = log_weights(model, guide, x, draws)
    assert weights.shape == (draws, len(x))
    standard_error = weights.std(0) / draws**0.5
    objective = ELBO(num_particles=draws).objective(model, guide, x)[0]
    assert ((objective - weights.mean(0)).abs() < 8 * standard_error).all()
