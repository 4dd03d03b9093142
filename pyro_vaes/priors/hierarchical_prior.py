"""The two-level prior."""

from __future__ import annotations

from collections.abc import Sequence

from pyro.distributions.transforms import AffineCoupling
from pyro.nn import DenseNN

from pyro_vaes.errors import InputError
from pyro_vaes.priors.flow_prior import FlowPrior
from pyro_vaes.validation import checked_sizes


class HierarchicalPrior(FlowPrior):
    """Two-level prior of z = (u, y), the upper level u and the lower level y.

    Given u, the lower level is normal, with a network for mean and scale::

        log p(z) = log N(u; 0, I) + log N(y; μ(u), diag σ(u)²)

    Without u, p(y) = ∫ N(y; μ(u), diag σ(u)²) N(u; 0, I) du, a continuous mixture, has no closed form. Kept among the
    coordinates of the latent, u makes the density exact, so that every guide, loss and estimate takes this prior, and
    a guide covers both levels jointly. A decoder that is to depend on y alone, p(x | y), is wrapped in
    :class:`~pyro_vaes.networks.LastCoordinates`. :class:`~pyro_vaes.models.HierarchicalVAE` is the same model with a
    site for each level, for guides that factorize over the levels, and with any number of them.

    Args:
        latent_dim: size Z of the latent, of both levels together.
        upper_dim: size U of u; by default half of Z, rounded down.
        hidden: sizes of the network's hidden layers.

    Attributes:
        upper_dim: size U of u.
        lower_dim: size Z - U of y.

    Shapes:
        A distribution with batch shape ``()`` and event shape ``(Z,)``, the first U coordinates being u.

    Raises:
        InputError: If a size is not a positive integer, or leaves no coordinates for the lower level.

    References:
        Stochastic Backpropagation and Approximate Inference in Deep Generative Models (Rezende, Mohamed, Wierstra,
        2014); Learning Hierarchical Priors in VAEs (Klushyn, Chen, Kurle, Cseke, van der Smagt, 2019).

    Example:
        >>> import pyro_vaes as pv
        >>> prior = HierarchicalPrior(5, upper_dim=2, hidden=(16,))
        >>> decoder = pv.networks.LastCoordinates(pv.networks.MLPDecoder(3, (1, 8, 8)), prior.lower_dim)
        >>> pv.VAE(decoder, prior, pv.likelihoods.Gaussian()).sample(4).shape
        torch.Size([4, 1, 8, 8])
    """

    def __init__(self, latent_dim: int, upper_dim: int | None = None, hidden: Sequence[int] = (64,)) -> None:
        (latent_dim,), hidden = checked_sizes(latent_dim=(latent_dim,), hidden=hidden)
        (upper,) = (latent_dim // 2,) if upper_dim is None else checked_sizes(upper_dim=(upper_dim,))[0]
        if not 0 < upper < latent_dim:
            raise InputError(
                f"upper_dim is {upper} of {latent_dim} latent dimensions: each of the two levels needs one, so "
                "expected latent_dim=2 or more and upper_dim from 1 to latent_dim - 1"
            )
        lower = latent_dim - upper
        super().__init__(latent_dim, AffineCoupling(upper, DenseNN(upper, list(hidden), [lower, lower])))
        self.upper_dim, self.lower_dim = upper, lower
