"""Mixture priors set to the clusters that a trained guide's codes form."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyro_vaes.given import split
from pyro_vaes.models.clustered import ClusteredModel
from pyro_vaes.models.labeled_mixture import fit_mixture
from pyro_vaes.priors import GaussianMixture
from pyro_vaes.vae import Guide, LatentVariableModel

CHUNK = 1000  # data encoded at a time
ENOUGH = 10  # codes per component and dimension, from which full covariances are fitted


@torch.no_grad()
def initialize_from_codes(model: LatentVariableModel, guide: Guide, x: Tensor, y: Tensor | None = None) -> None:
    """Set every Gaussian mixture prior to one that scikit-learn fits to codes, a draw from q(z_l | x) of each datum.

    Draws rather than means, since the prior that the ELBO asks for is the aggregate posterior. With enough codes the
    fitted components have full covariances, which follow correlated clusters; a prior of diagonal ones takes their
    diagonals. A guide with a q(y | x) of its own is set to the clusters that the codes fell into
    (``Guide.fit_clusters``). The seed of the fit comes from torch's generator.

    With labels, the components of the classes that they show start at the means of their codes, with the covariance
    within these classes, and the other components at those of a fit without labels that hold the fewest of them.

    Args:
        model: a model with Gaussian mixture priors.
        guide: its guide.
        x: the training data, or enough of them, ``(N, *event_shape)``.
        y: their labels, as ``model(x, y)`` takes them; by default those that the model is bound to, if there are any.

    Raises:
        InputError: If there are more clusters than data; names the largest number that fits. As the model does, if the
            labels cannot be used.

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
    y = model.given.get("y") if y is None else y
    labels = model.labels(y, len(x)) if isinstance(model, ClusteredModel) else {}
    batches = [view.posteriors(batch) for batch, view in split(CHUNK, x, guide)]
    codes = {site: [q[site] for q in batches] for site in model.sites}
    guide.fit_clusters(x, {site: _fit(prior, codes[site], labels.get(site)) for site, prior in mixtures.items()})


def _fit(prior: GaussianMixture, codes: Sequence[TorchDistribution], labels: Tensor | None) -> Tensor:
    """Set a prior to the mixture of draws from these posteriors; returns the cluster of each."""
    values, seed, components = _array([q.sample() for q in codes]), int(torch.randint(2**31, ())), len(prior.logits)
    kind = "full" if len(values) >= ENOUGH * components * values.shape[1] else "diag"
    known = () if labels is None else (labels.cpu().numpy(), _array([q.mean for q in codes]))
    fitted = fit_mixture(values, components, kind, seed, *known)
    covariances = torch.from_numpy(fitted.covariances_)
    prior.set_components(
        torch.from_numpy(fitted.weights_),
        torch.from_numpy(fitted.means_),
        covariances if kind == "full" else torch.diag_embed(covariances),
    )
    return torch.from_numpy(fitted.predict(values))


def _array(batches: Sequence[Tensor]) -> np.ndarray:
    return torch.cat(list(batches)).double().cpu().numpy()
