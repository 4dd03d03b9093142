"""Mixture priors set to the clusters that a trained guide's codes form."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_vaes.models.ladder_mixture import LadderMixtureGuide, LadderMixtureVAE
from pyro_vaes.models.mixture import MixtureGuide, MixtureVAE
from pyro_vaes.priors import GaussianMixture

CHUNK = 1000  # data encoded at a time


@torch.no_grad()
def initialize_from_codes(
    model: MixtureVAE | LadderMixtureVAE, guide: MixtureGuide | LadderMixtureGuide, x: Tensor
) -> None:
    """Set every Gaussian mixture prior to one that scikit-learn fits to codes, a draw from q(z_l | x) a datum.

    Draws rather than means, since the prior that the ELBO asks for is the aggregate posterior. The start of the fit
    comes from torch's generator.

    Args:
        model: a model with Gaussian mixture priors.
        guide: its guide.
        x: the training data, or enough of them, ``(N, *event_shape)``.

    Raises:
        InputError: for more clusters than data; names the most that fit.

    References:
        Variational Deep Embedding (Jiang, Zheng, Tan, Tang, Zhou, 2017).

    Example:
        >>> import pyro_vaes as pv
        >>> decoder = pv.networks.MLPDecoder(2, (1, 8, 8), hidden=(16,))
        >>> model = MixtureVAE(decoder, pv.priors.GaussianMixture(2, components=3), pv.likelihoods.Gaussian())
        >>> initialize_from_codes(model, MixtureGuide(model, encoder), x)
        >>> round(model.prior.logits.exp().sum().item(), 4)
        1.0
    """
    for prior in model.priors:
        if isinstance(prior, GaussianMixture):
            prior.initialize(x)
    draws = [[q.sample() for q in guide.posteriors(batch)] for batch in x.split(CHUNK)]
    for prior, codes in zip(model.priors, zip(*draws, strict=True), strict=True):
        if isinstance(prior, GaussianMixture):
            _fit(prior, torch.cat(codes))


def _fit(prior: GaussianMixture, codes: Tensor) -> None:
    from sklearn import mixture

    seed = int(torch.randint(2**31, ()))
    fitted = mixture.GaussianMixture(len(prior.logits), covariance_type="diag", random_state=seed)
    fitted.fit(codes.double().cpu().numpy())
    prior.logits.copy_(torch.from_numpy(fitted.weights_).log())
    prior.locs.copy_(torch.from_numpy(fitted.means_))
    prior.log_scales.copy_(0.5 * torch.from_numpy(fitted.covariances_).log())
