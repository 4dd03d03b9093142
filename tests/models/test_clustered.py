"""Labels of some data: the bound against both of its limits, by hand, and against Pyro's enumeration."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, TraceEnum_ELBO

from pyro_vaes.errors import InputError
from pyro_vaes.losses import ELBO, SemiSupervisedELBO
from tests.helpers.mixtures import BATCH, PAIRS, K, double, ladder_mixture, mixture, seeded

MIXED = torch.tensor([0, -1, 1, -1])  # clusters 2 and above have no labels
LABELED = [name for name in PAIRS if name not in ("ladder", "one-component")]


def labels_of(model, y=MIXED):
    """Labels of the model's shape, a column for each of its clusters."""
    columns = [y, y.flip(0)][: len(model.clustered)]
    return columns[0] if len(columns) == 1 else torch.stack(columns, 1)


@pytest.mark.parametrize("name", LABELED)
@pytest.mark.parametrize("particles", [1, 2])
def test_gradients_are_those_of_pyro(name, particles):
    model, guide, x = double(PAIRS[name]())
    y = labels_of(model)
    guide.analytic_kl = False  # Pyro has the draw's log q - log p
    stock = TraceEnum_ELBO(particles, max_plate_nesting=1, vectorize_particles=particles > 1)
    values = [seeded(loss.differentiable_loss, model, guide, x, y) for loss in (ELBO(particles), stock)]
    torch.testing.assert_close(values[0], values[1].double(), rtol=1e-10, atol=0)
    parameters = [*model.parameters(), *guide.parameters()]
    gradients = [torch.autograd.grad(value, parameters) for value in values]
    torch.testing.assert_close(*gradients, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", LABELED)
def test_without_labels_it_is_the_unsupervised_bound(name):
    model, guide, x = double(PAIRS[name]())
    unknown = labels_of(model, torch.full((BATCH,), -1))
    loss = SemiSupervisedELBO(alpha=7.0)
    expected = seeded(ELBO().objective, model, guide, x)
    for args in ((x,), (x, unknown)):
        objective, terms = seeded(loss.objective, model, guide, *args)
        torch.testing.assert_close(objective, expected[0], rtol=0, atol=0)
        assert {name: terms[name].tolist() for name in expected[1]} == {k: v.tolist() for k, v in expected[1].items()}


@pytest.mark.parametrize("name", ["mixture", "two-encoders", "full-covariance"])
def test_with_all_labels_it_is_the_supervised_bound(name):
    """Log p(y) + E_q(z | x, y)[log p(x | z) + log p(z | y) - log q(z | x, y)], at one draw z of each datum."""
    model, guide, x = double(PAIRS[name]())
    y = torch.tensor([2, 0, 1, 0])
    guide.analytic_kl = False
    locs, scales = guide.posterior(x).locs, guide.posterior(x).scales
    torch.manual_seed(4)
    torch.rand(())  # as in the guide, which draws no y
    objective, terms = seeded(ELBO().objective, model, guide, x, y)
    torch.manual_seed(4)
    every = dist.Normal(locs.movedim(1, 0), scales.movedim(1, 0)).rsample()
    rows = torch.arange(BATCH)
    z, q = every[y, rows], dist.Normal(locs[rows, y], scales[rows, y]).to_event(1)
    reconstruction = model.likelihood(model.decoder(z)).log_prob(x)
    log_p = model.prior.logits.log_softmax(0)[y] + model.prior.components(y).log_prob(z)
    torch.testing.assert_close(terms["reconstruction"], reconstruction, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(objective, reconstruction + log_p - q.log_prob(z), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("particles", [1, 3])
def test_a_mixed_batch_is_its_two_parts(particles):
    model, guide, x = double(mixture())
    loss = SemiSupervisedELBO(alpha=7.0, num_particles=particles)
    objective, terms = seeded(loss.objective, model, guide, x, MIXED)
    bound = seeded(ELBO(particles).objective, model, guide, x, MIXED)[0]
    log_q = guide.clusters(x)["y"].log()[torch.arange(BATCH), MIXED.clamp_min(0)]
    log_q = torch.where(MIXED < 0, 0, log_q)
    torch.testing.assert_close(terms["log_q_label"], log_q)
    torch.testing.assert_close(objective, bound + 7.0 * log_q)


def test_only_alpha_trains_the_classifier_of_labeled_data():
    model, guide, x, _ = mixture()
    y = torch.tensor([0, 1, 0, 1])
    for alpha in (0.0, 1.0):
        guide.zero_grad()
        SemiSupervisedELBO(alpha).differentiable_loss(model, guide, x, y).backward()
        assert (guide.head.logits.weight.grad.abs().sum() > 0) == (alpha > 0)


@pytest.mark.parametrize("name", ["mixture", "ladder-both"])
def test_it_trains_in_stock_svi(name):
    model, guide, x, _ = PAIRS[name]()
    y = labels_of(model)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.05}), SemiSupervisedELBO(alpha=10.0))
    for _ in range(30):
        svi.step(x, y)
    column = y if y.dim() == 1 else y[:, 0]
    found = next(iter(guide.clusters(x).values())).argmax(-1)
    assert torch.equal(found[column >= 0], column[column >= 0])


@pytest.mark.parametrize(
    ("make", "y", "message"),
    [
        (mixture, torch.tensor([0, 1, K, -1]), f"labels of 'y' are -1 to {K}: expected 0 to {K - 1}"),
        (mixture, torch.tensor([0, 1, -2, -1]), "labels of 'y' are -2 to 1"),
        (mixture, torch.tensor([0, 1, 2]), r"int64 of shape \(3,\): expected whole numbers of shape \(4,\), for y"),
        (mixture, torch.zeros(BATCH), "float32 of shape"),
        (PAIRS["ladder-both"], torch.zeros(BATCH).long(), r"expected whole numbers of shape \(4, 2\), for y1 and y3"),
        (PAIRS["ladder-top"], torch.tensor([0, 1, 2, -1]), "labels of 'y3' are -1 to 2: expected 0 to 1"),
        (ladder_mixture, torch.zeros(BATCH).long(), "no cluster of the model is a site: give it cluster_sites"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(make, y, message):
    model, guide, x, _ = make()
    for call in (model, guide):
        with pytest.raises(InputError, match=message):
            call(x, y)


def test_a_weight_that_is_no_number_from_zero_on_is_refused():
    with pytest.raises(InputError, match="alpha is -1"):
        SemiSupervisedELBO(alpha=-1)
