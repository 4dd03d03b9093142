"""Log-likelihood of 100 images by 5,000 samples each under the Laplace guide, 784-500-500-50, 4 updates.

Ours goes through the images in batches, with one factor of the precision an image. The rivals go image by image, as the
released code does: "factor a sample" finds the posterior once an image and factorises 5,000 copies of its precision,
"search a sample" finds the posterior of 5,000 copies of the image. Their times are those of a few copies, multiplied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

import pyro_vaes as pv
from benchmarks.released_laplace import released_posterior
from benchmarks.timing import in_turn

IMAGES, SAMPLES, LATENT, HIDDEN, SIZE, TURNS = 100, 5_000, 50, (500, 500), 784, 3
COPIES = 250  # of an image whose search is timed


def run() -> Iterator[tuple[str, dict[str, list[float]]]]:
    """Seconds a turn of each, for Gaussian and Bernoulli outputs."""
    for likelihood in (pv.likelihoods.Gaussian(scale=0.3), pv.likelihoods.Bernoulli()):
        torch.manual_seed(0)
        vae = pv.VAE(pv.networks.MLPDecoder(LATENT, (SIZE,), HIDDEN), pv.priors.StandardNormal(LATENT), likelihood)
        guide = pv.guides.Laplace(vae, pv.networks.MLPEncoder((SIZE,), HIDDEN), updates=4)
        x = torch.rand(IMAGES, SIZE).round()
        rivals: dict[str, Callable[[], object]] = {
            "ours": lambda vae=vae, guide=guide, x=x: pv.evaluate.log_weights(vae, guide, x, SAMPLES),
            "factor a sample": lambda vae=vae, guide=guide, x=x: _factor_a_sample(vae, guide, x[:1]),
            "search a sample": lambda vae=vae, guide=guide, x=x: _weights(vae, guide, x[:1].expand(COPIES, -1)),
        }
        with torch.no_grad():
            seconds = in_turn(rivals, TURNS, warmup=1)
        times = {"ours": 1, "factor a sample": IMAGES, "search a sample": IMAGES * SAMPLES // COPIES}
        yield type(likelihood).__name__, {name: [times[name] * each for each in seconds[name]] for name in rivals}


def _factor_a_sample(vae: pv.VAE, guide: pv.guides.Laplace, x: Tensor) -> Tensor:
    mean, precision = (each.expand(SAMPLES, *each.shape[1:]).contiguous() for each in released_posterior(vae, guide, x))
    return _log_weights(vae, x.expand(SAMPLES, -1), mean, precision)


def _weights(vae: pv.VAE, guide: pv.guides.Laplace, copies: Tensor) -> Tensor:
    return _log_weights(vae, copies, *released_posterior(vae, guide, copies))


def _log_weights(vae: pv.VAE, x: Tensor, mean: Tensor, precision: Tensor) -> Tensor:
    scale = torch.linalg.cholesky(torch.inverse(precision))
    q = torch.distributions.MultivariateNormal(mean, scale_tril=scale, validate_args=False)
    z = q.sample()
    return vae.log_joint(x, z) - q.log_prob(z)
