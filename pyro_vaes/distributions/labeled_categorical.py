"""The categorical distribution of a latent that is observed for some data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import pyro.distributions as dist
import torch
from torch import Tensor

from pyro_vaes.data.labels import UNKNOWN

IMPOSSIBLE = -1e4  # logit of probability 0 that leaves 0 log 0 = 0, as minus infinity would not


class LabeledCategorical(dist.Categorical):
    """Categorical distribution q(y | x) of unlabeled data; of labeled data the point mass at the label.

    Sums over y that this distribution weights are then exact for both: E over q(y | x), or the value at the label.

    Args:
        logits: logits of q(y | x).
        labels: the labels, ``UNKNOWN`` (-1) where there is none.

    Attributes:
        label_log_prob: log q(y | x) at the label in nats, 0 where there is none; shape ``(..., B)``.

    Shapes:
        ``logits (..., B, K)``, ``labels (B,)``; batch shape ``(..., B)``, event shape ``()``.

    Example:
        >>> q = LabeledCategorical(torch.zeros(2, 4), torch.tensor([3, -1]))
        >>> q.probs
        tensor([[0.0000, 0.0000, 0.0000, 1.0000],
                [0.2500, 0.2500, 0.2500, 0.2500]])
        >>> q.label_log_prob
        tensor([-1.3863,  0.0000])
    """

    label_log_prob: Tensor

    def __init__(self, logits: Tensor, labels: Tensor, validate_args: bool | None = None) -> None:
        known = labels != UNKNOWN
        index = labels.clamp_min(0).expand(logits.shape[:-1]).unsqueeze(-1)
        at_label = logits.log_softmax(-1).gather(-1, index).squeeze(-1)
        self.label_log_prob = torch.where(known, at_label, 0.0)
        point = torch.full_like(logits, IMPOSSIBLE).scatter(-1, index, 0.0)
        super().__init__(logits=torch.where(known.unsqueeze(-1), point, logits), validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: Self | None = None) -> Self:
        """The same distribution, broadcast to another batch shape."""
        new = self._get_checked_instance(type(self), _instance)
        new.label_log_prob = self.label_log_prob.expand(torch.Size(batch_shape))
        expanded: Self = super().expand(batch_shape, new)
        return expanded
