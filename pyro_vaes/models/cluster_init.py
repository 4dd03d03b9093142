"""Mixture priors set to the clusters that a trained guide's codes form."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_vaes.given import split
from pyro_vaes.priors import GaussianMixture
from pyro_vaes.vae import Guide, LatentVariableModel

CHUNK = 1000  # data encoded at a time
STARTS = 10  # of the fit, of which the best is taken
ENOUGH = 10  # codes per component and dimension, from which full covariances are fitted


@torch.no_grad()
def initialize_from_codes(model: LatentVariableModel, guide: Guide, x: Tensor) -> None:
    """Set every Gaussian mixture prior to one that scikit-learn fits to codes, a draw from q(z_l | x) of each datum.

    Draws rather than means, since the prior that the ELBO asks for is the aggregate posterior. With enough codes the
    fitted components have full covariances, which follow correlated clusters, and the prior takes their diagonals.
    A guide with a q(y | x) of its own is set to the clusters that the codes fell into (``Guide.fit_clusters``). The
    seed of the fit comes from torch's generator.

    Args:
        model: a model with Gaussian mixture priors.
        guide: its guide.
        x: the training data, or enough of them, ``(N, *event_shape)``.

    Raises:
        InputError: If there are more clusters than data; names the largest number that fits.

    References:
        Variational Deep Embedding (Jiang, Zheng, Tan, Tang, Zhou, 2017).

    Example:
        >>> import pyro_vaes as pv
        >>> decoder = pv.networks.MLPDecoder(2, (1, 8, 8), hidden=(16,))
        >>> model = pv.models.MixtureVAE(decoder, pv.priors.GaussianMixture(2, components=3), pv.likelihoods.Gaussian())
        >>> initialize_from_codes(model, pv.models.MixtureGuide(model, encoder), x)
        >>> round(model.prior.logits.exp().sum().item(), 4)
        1.0
    """
    mixtures = {site: prior for site, prior in model.priors.items() if isinstance(prior, GaussianMixture)}
    for prior in mixtures.values():
        prior.initialize(x)
    batches = [view.posteriors(batch) for batch, view in split(CHUNK, x, guide)]
    codes = {site: torch.cat([q[site].sample() for q in batches]) for site in model.sites}
    guide.fit_clusters(x, {site: _fit(prior, codes[site]) for site, prior in mixtures.items()})


def _fit(prior: GaussianMixture, codes: Tensor) -> Tensor:
    """Set a prior to the mixture of its codes; returns the cluster of each."""
    from sklearn import mixture

    seed, values, components = int(torch.randint(2**31, ())), codes.double().cpu().numpy(), len(prior.logits)
    full = len(values) >= ENOUGH * components * values.shape[1]
    kind = "full" if full else "diag"
    fitted = mixture.GaussianMixture(components, covariance_type=kind, n_init=STARTS, random_state=seed)
    clusters, variances = fitted.fit_predict(values), torch.from_numpy(fitted.covariances_)
    prior.logits.copy_(torch.from_numpy(fitted.weights_).log())
    prior.locs.copy_(torch.from_numpy(fitted.means_))
    prior.log_scales.copy_(0.5 * (variances.diagonal(dim1=-2, dim2=-1) if full else variances).log())
    return torch.from_numpy(clusters)
