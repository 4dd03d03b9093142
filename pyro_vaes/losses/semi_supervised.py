"""The evidence lower bound of data that are labeled in part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from pyro_vaes.distributions.labeled_categorical import LabeledCategorical
from pyro_vaes.errors import InputError
from pyro_vaes.losses.base import Pair, Terms
from pyro_vaes.losses.elbo import ELBO
from pyro_vaes.traces import total


class SemiSupervisedELBO(ELBO):
    """ELBO of labeled and of unlabeled data, and α log q(y | x) at the labels, which trains q(y | x) on them too.

    The bound of unlabeled data sums over y, Σ_y q(y | x) [L(x, y) - log q(y | x)] with
    L(x, y) = E_q(z | x, y)[log p(x | z) + log p(y) + log p(z | y) - log q(z | x, y)]; that of labeled data is L(x, y)
    at the label. The labels go with the batch, ``loss.objective(model, guide, x, y)`` and ``SVI.step(x, y)``, -1 where
    there is none; without any this is the :class:`ELBO`.

    Args:
        alpha: weight α of log q(y | x) for each labeled datum; 0 leaves the bound alone.
        num_particles: number S of draws a datum.
        beta: weight of the KL, as in :class:`ELBO`.

    Shapes:
        ``terms`` gives those of :class:`ELBO` and, with labels, ``log_q_label``, each ``(B,)``.

    Raises:
        InputError: If the weight is negative.

    References:
        Semi-Supervised Learning with Deep Generative Models (Kingma, Rezende, Mohamed, Welling, 2014). The default of
        α is this project's.

    Example:
        >>> import pyro_vaes as pv
        >>> decoder = pv.networks.MLPDecoder(2, (1, 8, 8), hidden=(16,))
        >>> prior = pv.priors.GaussianMixture(2, components=3)
        >>> model = pv.models.MixtureVAE(decoder, prior, pv.likelihoods.Gaussian())
        >>> guide = pv.models.MixtureGuide(model, encoder)
        >>> terms = SemiSupervisedELBO(alpha=10).terms(model, guide, x, torch.tensor([0, -1, 1, -1]))
        >>> (terms["log_q_label"] < 0).tolist()
        [True, False, True, False]
    """

    def __init__(
        self, alpha: float = 100.0, num_particles: int = 1, beta: float | Callable[[int], float] = 1.0
    ) -> None:
        super().__init__(num_particles, beta)
        if not alpha >= 0:
            raise InputError(f"alpha is {alpha}: expected the weight of log q(y | x), a number from 0 on, such as 100")
        self.alpha = alpha

    def objective(self, model: Pair, guide: Pair, x: Tensor, *args: Any) -> tuple[Tensor, Terms]:
        """Reconstruction - β · kl + α log q(y | x), and the parts."""
        parts = self.parts(model, guide, x, *args)
        objective, terms = parts.reconstruction - self.kl_weight() * parts.kl, parts.terms()
        labeled = [q.label_log_prob for q in parts.posteriors.values() if isinstance(q, LabeledCategorical)]
        if labeled:
            terms["log_q_label"] = total(labeled).expand(self.num_particles, len(x)).mean(0)
            objective = objective + self.alpha * terms["log_q_label"]
        return objective, terms
