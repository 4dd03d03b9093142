"""Checks that loss, weights and validation ELBO are finite."""

from __future__ import annotations

import math

import torch

from pyro_vaes.errors import NonFiniteError
from pyro_vaes.training.callbacks import Callback
from pyro_vaes.training.state import Epoch, TrainingState

CHECK_EVERY = 50  # steps between two checks of the loss, each of which waits for the device


class FiniteChecks(Callback):
    """Ends a training with values that are not finite before they reach a checkpoint.

    The loss is checked every 50 steps, loss and weights before each checkpoint: a loss, and the validation ELBO too,
    may remain finite while weights are not.

    Raises:
        NonFiniteError: If a value is not finite; names it, and the checkpoint that is kept.

    Example:
        >>> from pyro_vaes.losses import ELBO
        >>> from pyro_vaes.training.step import EagerStep
        >>> state = TrainingState(EagerStep(vae, guide, ELBO(), lr=1e-3), size=4, seed=0, device=torch.device("cpu"))
        >>> _ = vae.decoder[0].bias.data.fill_(torch.nan)
        >>> FiniteChecks().check(state, state.start_epoch())
        Traceback (most recent call last):
            ...
        pyro_vaes.errors.NonFiniteError: epoch 1: not finite: decoder.0.bias; no epoch was finished, nothing is kept. A
        smaller lr often helps
    """

    checked = 0  # steps of the epoch under way

    def on_epoch_start(self, state: TrainingState, epoch: Epoch) -> None:
        """Start after the steps that were checked before the checkpoint."""
        self.checked = len(epoch.records)

    def on_step(self, state: TrainingState, epoch: Epoch) -> None:
        """Check the loss every 50 steps."""
        if len(epoch.records) - self.checked == CHECK_EVERY:
            self._check_loss(state, epoch)

    def on_validation_start(self, state: TrainingState, epoch: Epoch) -> None:
        """Check the weights that will be saved."""
        self.check(state, epoch)

    def on_validation_end(self, state: TrainingState, row: dict[str, float]) -> None:
        """Check the validation ELBO."""
        if not math.isfinite(row["valid_elbo"]):
            raise NonFiniteError(f"epoch {row['epoch']}: the validation ELBO is {row['valid_elbo']}; {state.kept}")

    def check(self, state: TrainingState, epoch: Epoch) -> None:
        """Check the loss of the steps since the last check, and all weights."""
        self._check_loss(state, epoch)
        for module in state.modules.values():
            for name, weight in module.named_parameters():
                if not weight.isfinite().all():
                    raise NonFiniteError(
                        f"epoch {epoch.number}: not finite: {name}; {state.kept}. A smaller lr often helps"
                    )

    def _check_loss(self, state: TrainingState, epoch: Epoch) -> None:
        before, self.checked = self.checked, len(epoch.records)
        if before == self.checked:
            return
        table = torch.stack(epoch.records[before:])
        finite = table.isfinite()
        if finite.all():
            return
        step = int((~finite.all(1)).nonzero()[0])
        wrong = [
            f"{name} = {value:.4g}"
            for name, value, fine in zip(state.step.names, table[step].tolist(), finite[step].tolist(), strict=True)
            if not fine
        ]
        raise NonFiniteError(
            f"epoch {epoch.number}, step {before + step + 1}: not finite: {', '.join(wrong)} (sums over the batch); "
            f"{state.kept}. A smaller lr often helps"
        )
