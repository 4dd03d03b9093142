"""TensorBoard's event files of a training, where it is installed."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pyro_vaes.data.pixel_transform import IDENTITY
from pyro_vaes.given import in_turn, split
from pyro_vaes.runs.folder import EVENTS
from pyro_vaes.training.callbacks import Callback
from pyro_vaes.training.state import TrainingState
from pyro_vaes.vae import Guide, LatentVariableModel

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

SHOWN = 8  # examples that are reconstructed; twice as many are sampled


class TensorBoardCallback(Callback):
    """TensorBoard's event files of a run, in its folder ``events``; without the package ``tensorboard`` there are none.

    Scalars are every column of the history, each epoch. Images are reconstructions of a few examples (the examples
    above), samples and traversals, means E[x | z] all of them, after the epochs 1, 2, 4, 8 and so on: a run of
    2,000 epochs has eleven of each, and about 1.5 MB of event files. They need images, and model and guide of this
    library's kinds.

    Drawing leaves torch's random state as it was. A resumed run has a further file in the same folder; epochs that it
    trains again take the place of those in earlier files. Where a file cannot be written, the training goes on without.

    Args:
        folder: the run folder; None writes nothing.
        model: the model.
        guide: its guide.
        x: a few examples of the validation split, ``(B, *event_shape)``.
        as_pixels: map from x to pixels in [0, 1].

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     files = TensorBoardCallback(pathlib.Path(folder), vae, guide, x)
        ...     files.add({"epoch": 1, "train_elbo": -30.0, "valid_elbo": -31.0})
        ...     files.close()
        ...     len(list(pathlib.Path(folder).glob("events/*")))
        1
    """

    def __init__(
        self,
        folder: Path | None,
        model: nn.Module,
        guide: nn.Module,
        x: Tensor,
        as_pixels: Callable[[Tensor], Tensor] = IDENTITY.inverse,
    ) -> None:
        self.folder = folder / EVENTS if folder is not None and _installed() else None
        self.x, self.model, self.guide = next(split(SHOWN, x, model, guide))
        self.as_pixels = as_pixels
        self.writer: SummaryWriter | None = None

    def on_validation_end(self, state: TrainingState, row: dict[str, float]) -> None:
        """Add the epoch, in the first process."""
        state.group.on_rank_zero(lambda: self.add(row))

    def on_end(self, state: TrainingState) -> None:
        """Close the files."""
        self.close()

    def add(self, row: Mapping[str, float]) -> None:
        """Add the epoch of a row of the history; model and guide are in evaluation mode."""
        if self.folder is None:
            return
        try:
            self._add(self.folder, int(row["epoch"]), row)
        except OSError as error:
            print(f"{self.folder} cannot be written ({error}): the training goes on without it", file=sys.stderr)
            self.folder = None

    def close(self) -> None:
        """Write out what is left."""
        if self.writer is not None:
            with contextlib.suppress(OSError):
                self.writer.close()

    def _add(self, folder: Path, epoch: int, row: Mapping[str, float]) -> None:
        if self.writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(folder), purge_step=epoch if epoch > 1 else None)
        for name, value in row.items():
            if name != "epoch":
                self.writer.add_scalar(name, value, epoch)
        if epoch & (epoch - 1) == 0:
            self._draw(self.writer, epoch)
        self.writer.flush()

    def _draw(self, writer: SummaryWriter, epoch: int) -> None:
        drawable = self.x.dim() == 4 and self.x.shape[1] in (1, 3)
        model, guide = self.model, self.guide
        if not (drawable and isinstance(model, LatentVariableModel) and isinstance(guide, Guide)):
            return
        from pyro_vaes.evaluate.inputs import evaluating, seeded  # heavier than what a training needs
        from pyro_vaes.evaluate.posterior_means import posterior_means
        from pyro_vaes.plots.traversals import draw_traversals

        with evaluating(model, guide), seeded(0, self.x.device), torch.no_grad():
            rebuilt = model.decode(*posterior_means(guide, self.x).values())
            sampler = in_turn(model, 2 * SHOWN)
            samples = sampler.decode(*sampler.sample_latents(2 * SHOWN))
            one, first, start = next(split(1, self.x, model, guide))
            traversals = draw_traversals(first, start, one, as_pixels=self.as_pixels)
        for name, images in (("reconstructions", torch.cat([self.x, rebuilt])), ("samples", samples)):
            writer.add_images(name, self.as_pixels(images).nan_to_num(nan=0.5).clamp(0, 1).cpu(), epoch)
        writer.add_image("traversals", _pixels(traversals), epoch, dataformats="HWC")


def _installed() -> bool:
    try:
        import torch.utils.tensorboard  # noqa: F401  (looks for the package, and whether its version fits)
    except ImportError:
        return False
    return True


def _pixels(figure: Any) -> Any:
    """A figure as an array ``(H, W, 3)``."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]
