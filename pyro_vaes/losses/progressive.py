"""The evidence lower bound of a ladder whose levels enter one after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pyro_vaes.errors import InputError
from pyro_vaes.losses.base import Pair, Terms
from pyro_vaes.losses.elbo import ELBO
from pyro_vaes.traces import total
from pyro_vaes.validation import check_whole


class ProgressiveELBO(ELBO):
    """ELBO of a ladder whose levels fade in one after another, the highest first.

    The highest level is there from the start, for ``alone`` gradient steps alone. Then each one below takes ``steps``
    gradient steps, once the one above it has come in full, to rise from 0 to 1: a factor of v_l(z_l) in the decoder and
    of the level's KL in the objective. The terms that are reported carry no factor: they are the ELBO of the model as
    it is at this step, whose factors its decoder keeps and saves with its weights.

    Args:
        steps: gradient steps that a level takes to fade in.
        num_particles: number S of draws a datum.
        beta: weight of the KL, as in :class:`ELBO`.
        alone: gradient steps before the second level begins to fade in.

    Shapes:
        ``terms`` gives ``reconstruction``, ``kl`` and ``kl_<site>``, each ``(B,)``.

    Raises:
        InputError: If the model's decoder has no ``presence``, as a ``LadderMLPDecoder`` has.

    References:
        Progressive Learning and Disentanglement of Hierarchical Representations (Li, Gyawali, Wang, Murphy, 2020);
        Multi-Facet Clustering Variational Autoencoders (Falck et al., 2021) for the highest level alone at first.

    Example:
        >>> loss = ProgressiveELBO(steps=4)
        >>> for step in (0, 2, 6, 99):
        ...     loss.num_steps = step
        ...     print(loss.presence(levels=3))
        [0.0, 0.0, 1.0]
        [0.0, 0.5, 1.0]
        [0.5, 1.0, 1.0]
        [1.0, 1.0, 1.0]
    """

    traceable = False

    def __init__(
        self, steps: int, num_particles: int = 1, beta: float | Callable[[int], float] = 1.0, alone: int = 0
    ) -> None:
        super().__init__(num_particles, beta)
        self.steps, self.alone = check_whole("steps", steps), check_whole("alone", alone, least=0)

    def presence(self, levels: int) -> list[float]:
        """The factor of each level at this step, the lowest first."""
        faded = max(self.num_steps - self.alone, 0) / self.steps
        return [min(max(faded - above, 0.0), 1.0) for above in reversed(range(-1, levels - 1))]

    def objective(self, model: Pair, guide: Pair, x: Tensor, *args: Any) -> tuple[Tensor, Terms]:
        """Reconstruction - β Σ_l presence_l · kl_l."""
        decoder: Any = getattr(model, "decoder", None)
        if (before := getattr(decoder, "presence", None)) is None:
            raise InputError(
                f"{type(decoder).__name__} has no latents that fade in: take a decoder of pyro_vaes.networks.ladder, "
                "or the loss ELBO"
            )
        presence = self.presence(len(before))
        decoder.presence = torch.as_tensor(presence, dtype=before.dtype, device=before.device)
        parts = self.parts(model, guide, x, *args)
        shares = {f"{kind}{index}": share for index, share in enumerate(presence, 1) for kind in "yz"}
        kl = total(shares[site] * value for site, value in parts.kls.items()) if min(presence) < 1 else parts.kl
        return parts.reconstruction - self.kl_weight() * kl, parts.terms()
