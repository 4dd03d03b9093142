"""The stacked hierarchy: each latent has the one above as its parent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pyro
import pyro.distributions as dist
from torch import Tensor, nn

from pyro_vaes.errors import InputError
from pyro_vaes.likelihoods import Likelihood
from pyro_vaes.models.conditional_normal import ConditionalNormal, normal
from pyro_vaes.models.sequential_guide import SequentialGuide
from pyro_vaes.networks.shapes import latent_features
from pyro_vaes.priors import Prior
from pyro_vaes.traces import total
from pyro_vaes.vae import LatentVariableModel


class HierarchicalVAE(LatentVariableModel):
    """The model p(x, z) = p(z_L) p(z_{L-1} | z_L) ... p(z_1 | z_2) p(x | decoder(z_1)).

    Args:
        decoder: any module ``z_1 -> features``.
        prior: p(z_L) of the highest level.
        conditionals: p(z_l | z_{l+1}) of the levels below, the lowest first: modules that give a distribution, with
            its size in ``size``.
        likelihood: p(x | features).

    Shapes:
        ``x (B, *event_shape)``; calling it gives each latent by site, ``(B, Z_l)``; ``log_joint`` takes
        ``z_l (..., B, Z_l)``, for ``(..., B)``.

    Raises:
        InputError: If decoder, conditionals and prior do not fit.

    References:
        Stochastic Backpropagation and Approximate Inference in Deep Generative Models (Rezende, Mohamed, Wierstra,
        2014); Learning Hierarchical Features from Deep Generative Models (Zhao, Song, Ermon, 2017) on what its upper
        levels do not learn.

    Example:
        >>> import pyro_vaes as pv
        >>> conditional = ConditionalNormal(pv.networks.MLPEncoder((3,), hidden=(16,)), size=2)
        >>> decoder = pv.networks.MLPDecoder(2, (1, 8, 8), hidden=(16,))
        >>> model = HierarchicalVAE(decoder, pv.priors.StandardNormal(3), [conditional], pv.likelihoods.Gaussian())
        >>> model.latent_dims, model.sample(4).shape
        ((2, 3), torch.Size([4, 1, 8, 8]))
    """

    def __init__(
        self,
        decoder: nn.Module,
        prior: Prior,
        conditionals: Sequence[ConditionalNormal],
        likelihood: Likelihood,
    ) -> None:
        super().__init__(decoder, likelihood, [*(each.size for each in conditionals), prior.latent_dim])
        prior.probe()
        self.prior = prior
        self.conditionals = nn.ModuleList(conditionals)
        self._check_conditionals()

    @property
    def priors(self) -> Mapping[str, Prior]:  # type: ignore[override]
        """The prior of the highest latent, by site."""
        return {self.sites[-1]: self.prior}

    def draw(self) -> list[Tensor]:
        """Sites ``zL`` down to ``z1``."""
        z = [pyro.sample(self.sites[-1], self.prior())]
        for site, conditional in zip(self.sites[-2::-1], self.conditionals[::-1], strict=True):
            z.insert(0, pyro.sample(site, conditional(z[0])))
        return z

    def features(self, *z: Tensor) -> Tensor:
        """Decoder(z_1)."""
        return self.decoder(z[0])

    def decode_from(self, site: str, *z: Tensor) -> Tensor:
        """E[x | z_1], with each z_l below ``site`` at its mean E[z_l | z_{l+1}].

        The decoder takes z_1 alone: a higher latent shows in its output only through the latents below.
        """
        index = self.sites.index(site)
        below = z[index]
        for conditional in self.conditionals[:index][::-1]:
            below = conditional(below).mean
        return self.decode(below)

    def log_prior(self, *z: Tensor) -> Tensor:
        """Log p(z_L) + Σ_l log p(z_l | z_{l+1})."""
        levels = zip(self.conditionals, z[:-1], z[1:], strict=True)
        below = [conditional(above).log_prob(value) for conditional, value, above in levels]
        return total([self.prior().log_prob(z[-1]), *below])

    def _check_conditionals(self) -> None:
        like = next(self.parameters())
        for level, conditional in enumerate(self.conditionals, 1):
            size = self.latent_dims[level]
            try:
                conditional(like.new_zeros(1, size))
            except (RuntimeError, ValueError) as error:
                raise InputError(
                    f"the conditional of level {level} does not take latents of level {level + 1}, of size {size} "
                    f"({error}): give its network {size} inputs"
                ) from error


class HierarchicalGuide(SequentialGuide):
    """Bottom-up posterior q(z_1 | x) q(z_2 | z_1) ... q(z_L | z_{L-1}) of a hierarchy.

    Args:
        vae: the model.
        encoders: a module for each level, ``x -> (..., out_features)``, then ``z_{l-1} -> (..., out_features)``.

    Shapes:
        ``x (B, *event_shape)``; calling it gives each latent by site, ``(B, Z_l)``.

    Raises:
        InputError: If there is another number of encoders than latents.

    References:
        Ladder Variational Autoencoders (Sonderby, Raiko, Maaloe, Sonderby, Winther, 2016), as the baseline there.

    Example:
        >>> import pyro_vaes as pv
        >>> conditional = ConditionalNormal(pv.networks.MLPEncoder((3,), hidden=(16,)), size=2)
        >>> decoder = pv.networks.MLPDecoder(2, (1, 8, 8), hidden=(16,))
        >>> model = HierarchicalVAE(decoder, pv.priors.StandardNormal(3), [conditional], pv.likelihoods.Gaussian())
        >>> guide = HierarchicalGuide(model, [encoder, pv.networks.MLPEncoder((2,), hidden=(16,))])
        >>> sorted(pv.losses.ELBO().terms(model, guide, x))
        ['kl', 'kl_z1', 'kl_z2', 'reconstruction']
    """

    vae: HierarchicalVAE

    def __init__(self, vae: HierarchicalVAE, encoders: Sequence[nn.Module]) -> None:
        super().__init__(vae)
        given, latents = len(encoders), len(vae.latent_dims)
        if given != latents:
            raise InputError(f"there are {given} encoders, but the model has {latents} latents: give one for each")
        self.conditionals = nn.ModuleList(
            ConditionalNormal(encoder, size) for encoder, size in zip(encoders, vae.latent_dims, strict=True)
        )

    def chain(self, x: Tensor, sample: Callable[[str, dist.TorchDistribution], Tensor]) -> None:
        """Sites ``z1`` up to ``zL``."""
        below = self.vae.likelihood.filled_encoder_input(x)
        for site, conditional in zip(self.vae.sites, self.conditionals, strict=True):
            below = sample(site, conditional(below))


class TopDownGuide(SequentialGuide):
    """Top-down posterior of a hierarchy: the evidence of the data on z_l times the model's p(z_l | z_{l+1}).

    q(z_L | x) = N(μ_L, σ_L²) and q(z_l | x, z_{l+1}) ∝ N(z_l; μ_l(x), σ_l²(x)) p(z_l | z_{l+1}), so that means are
    weighed by precisions.

    Args:
        vae: the model.
        encoder: any module ``x -> [h_1, ..., h_L]`` with their sizes in ``out_features``, such as
            :class:`~pyro_vaes.networks.ladder.LadderMLPEncoder`.

    Shapes:
        ``x (B, *event_shape)``; calling it gives each latent by site, ``(B, Z_l)``.

    Raises:
        InputError: If the encoder gives features for another number of latents.

    References:
        Ladder Variational Autoencoders (Sonderby, Raiko, Maaloe, Sonderby, Winther, 2016), whose name means this guide.

    Example:
        >>> import pyro_vaes as pv
        >>> from pyro_vaes.networks.ladder import LadderMLPEncoder
        >>> conditional = ConditionalNormal(pv.networks.MLPEncoder((3,), hidden=(16,)), size=2)
        >>> decoder = pv.networks.MLPDecoder(2, (1, 8, 8), hidden=(16,))
        >>> model = HierarchicalVAE(decoder, pv.priors.StandardNormal(3), [conditional], pv.likelihoods.Gaussian())
        >>> guide = TopDownGuide(model, LadderMLPEncoder((1, 8, 8), hidden=((16,), (8,))))
        >>> {site: z.shape for site, z in guide(x).items()}
        {'z1': torch.Size([4, 2]), 'z2': torch.Size([4, 3])}
    """

    vae: HierarchicalVAE

    def __init__(self, vae: HierarchicalVAE, encoder: nn.Module) -> None:
        super().__init__(vae, encoder)
        sizes = zip(latent_features(encoder, len(vae.latent_dims)), vae.latent_dims, strict=True)
        self.heads = nn.ModuleList(nn.Linear(features, 2 * size) for features, size in sizes)

    def chain(self, x: Tensor, sample: Callable[[str, dist.TorchDistribution], Tensor]) -> None:
        """Sites ``zL`` down to ``z1``."""
        evidence = [normal(head(h)) for head, h in zip(self.heads, self.encode(x), strict=True)]
        above = sample(self.vae.sites[-1], evidence[-1])
        for index in reversed(range(len(evidence) - 1)):
            posterior = _product(evidence[index], self.vae.conditionals[index](above))
            above = sample(self.vae.sites[index], posterior)


def _product(first: dist.TorchDistribution, second: dist.TorchDistribution) -> dist.TorchDistribution:
    """The normalized product of two independent normal densities."""
    precision = 1 / first.variance + 1 / second.variance
    mean = (first.mean / first.variance + second.mean / second.variance) / precision
    return dist.Normal(mean, precision.rsqrt()).to_event(1)
