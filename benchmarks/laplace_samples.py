"""Log-likelihood of 100 images by 5,000 samples each under the Laplace guide, 784-500-500-50, 4 updates.

Ours processes the images in batches, with one factor of the precision per image. The baselines process them one by
one, as the released code does: "factor per sample" finds the posterior once per image and factorizes 5,000 copies of
its precision, "search per sample" finds the posterior of 5,000 copies of the image. Their times are extrapolated from
those of a few copies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

import pyro_vaes as pv
from benchmarks.baselines.released_laplace import released_posterior
from benchmarks.helpers.pairs import pair
from benchmarks.helpers.results import Folders, Row
from benchmarks.helpers.timing import Seconds, interleaved, ratio_rows, ratio_table

IMAGES, SAMPLES, SIZE, UPDATES, TURNS = 100, 5_000, 784, 4, 3
COPIES = 250  # of an image whose search is timed
CALLS = {"ours": 1, "factor per sample": IMAGES, "search per sample": IMAGES * SAMPLES // COPIES}

page = ratio_table


def run(folders: Folders) -> list[Row]:
    return ratio_rows(_cases())


def _cases() -> Iterator[tuple[str, Seconds]]:
    """Seconds per turn, for Gaussian and Bernoulli outputs."""
    for likelihood in (pv.likelihoods.Gaussian(scale=0.3), pv.likelihoods.Bernoulli()):
        torch.manual_seed(0)
        vae, guide = pair(partial(pv.guides.Laplace, updates=UPDATES), likelihood, shape=(SIZE,))
        x = torch.rand(IMAGES, SIZE).round()
        calls: dict[str, Callable[[], object]] = {
            "ours": partial(pv.evaluate.log_weights, vae, guide, x, SAMPLES),
            "factor per sample": partial(_factor_per_sample, vae, guide, x[:1]),
            "search per sample": partial(_search_per_sample, vae, guide, x[:1].expand(COPIES, -1)),
        }
        with torch.no_grad():
            seconds = interleaved(calls, TURNS, warmup=1)
        yield type(likelihood).__name__, {name: [CALLS[name] * each for each in seconds[name]] for name in calls}


def _factor_per_sample(vae: pv.VAE, guide: pv.guides.Laplace, x: Tensor) -> Tensor:
    mean, precision = (each.expand(SAMPLES, *each.shape[1:]).contiguous() for each in released_posterior(vae, guide, x))
    return _log_weights(vae, x.expand(SAMPLES, -1), mean, precision)


def _search_per_sample(vae: pv.VAE, guide: pv.guides.Laplace, copies: Tensor) -> Tensor:
    return _log_weights(vae, copies, *released_posterior(vae, guide, copies))


def _log_weights(vae: pv.VAE, x: Tensor, mean: Tensor, precision: Tensor) -> Tensor:
    scale = torch.linalg.cholesky(torch.inverse(precision))
    q = torch.distributions.MultivariateNormal(mean, scale_tril=scale, validate_args=False)
    z = q.sample()
    return vae.log_joint(x, z) - q.log_prob(z)
