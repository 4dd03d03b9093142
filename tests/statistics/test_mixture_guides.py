"""Mixture guides: the mean of their stratified bound, and a posterior of two modes."""

import pytest
import torch

import pyro_vaes as pv
from benchmarks import two_modes
from tests.helpers.mixture_guides import BOOSTED, pair


@pytest.mark.parametrize(
    "guide", [pv.guides.Mixture, *(pytest.param(each, marks=pytest.mark.slow) for each in BOOSTED)]
)
def test_stratified_bound_is_the_mixture_s_own(guide):
    """Mean of the stratified bound against E_Q[log p - log Q] by plain draws: within 4 standard errors."""
    vae, guide = pair(guide)
    x = torch.randn(2, 5).double()
    loss = pv.losses.default_loss(guide)
    with torch.no_grad():
        stratified = torch.stack([loss.objective(vae, guide, x)[0] for _ in range(2000)])
        plain = pv.evaluate.log_weights(vae, guide, x, num_samples=20000)
    error = (stratified.var(0) / len(stratified) + plain.var(0) / len(plain)).sqrt()
    assert ((stratified.mean(0) - plain.mean(0)).abs() < 4 * error).all()
    assert (stratified.var(0) < plain.var(0)).all(), "stratification does not reduce the noise"


@pytest.mark.slow
@pytest.mark.parametrize("seed", two_modes.SEEDS)
def test_recursive_mixture_covers_two_modes(record_property, seed):
    """By default it closes at least 90 % of mean-field's gap to log p(x), whose best is log 2."""
    plain, *_ = two_modes.trained(pv.guides.MeanField, seed)
    recursive, guide, x = two_modes.trained(pv.guides.RecursiveMixture, seed)
    record_property("gaps", (plain, recursive))
    assert recursive < 0.1 * plain, f"gap {recursive:.3f} against mean-field's {plain:.3f}"
    q = guide.posterior(x)
    right = (q.logits.exp() * (q.locs[..., 0] > 0)).sum(-1)
    assert ((right > 0.2) & (right < 0.8)).all(), "one mode has most of the weight"
