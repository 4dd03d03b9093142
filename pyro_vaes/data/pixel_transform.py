"""The bijection from pixels in [0, 1] to the real values that a model takes: a logit, the subtraction of a mean."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor
from torch.distributions.transforms import AffineTransform, ComposeTransform, SigmoidTransform

from pyro_vaes.errors import InputError

#: The logit of pixels squeezed to [0.05, 0.95], where it is finite.
LOGIT = ComposeTransform([AffineTransform(0.05, 0.9), SigmoidTransform().inv])


@dataclass(frozen=True, eq=False)
class PixelTransform:
    """The map x = v - m from pixels v in [0, 1], or x = logit(0.05 + 0.9 v) - m, to a model's input.

    A model of x gives the density in the space of x, and ``log p(v) = log p(x) + log |det ∂x/∂v|``. The subtraction
    of m changes no density, the logit does.

    Args:
        logit: whether the logit is taken.
        mean: m, the per-pixel mean of the training data, of their logit if that is taken; None for 0.

    Shapes:
        pixels, x: ``(B, *event_shape)``; mean: ``event_shape``.

    References:
        Variational Laplace Autoencoders (Park, Kim, Kim, ICML 2019), for both.

    Example:
        >>> transform = PixelTransform(logit=True)
        >>> transform(torch.tensor([[0.0, 0.5, 1.0]]))
        tensor([[-2.9444,  0.0000,  2.9444]])
        >>> transform.log_abs_det_jacobian(torch.tensor([[0.5]])).exp()
        tensor([3.6000])
    """

    logit: bool = False
    mean: Tensor | None = field(default=None, repr=False)

    def __call__(self, pixels: Tensor) -> Tensor:
        """X of pixels."""
        x = LOGIT(pixels) if self.logit else pixels
        return x if self.mean is None else x - self.mean.to(x)

    def inverse(self, x: Tensor) -> Tensor:
        """Pixels of x."""
        x = x if self.mean is None else x + self.mean.to(x)
        return LOGIT.inv(x) if self.logit else x

    def log_abs_det_jacobian(self, pixels: Tensor) -> Tensor:
        """``log |det ∂x/∂v|`` at pixels, ``(B,)``, in nats."""
        if not self.logit:
            return pixels.new_zeros(len(pixels))
        return LOGIT.log_abs_det_jacobian(pixels, LOGIT(pixels)).flatten(1).sum(1)

    def describe(self) -> str:
        """Description for reports, empty for the identity.

        Example:
            >>> PixelTransform(logit=True).describe()
            ', as logits of 0.05 + 0.9 of them, densities in logit space'
        """
        logit = ", as logits of 0.05 + 0.9 of them, densities in logit space" if self.logit else ""
        return logit + (", minus the per-pixel training mean" if self.mean is not None else "")


IDENTITY = PixelTransform()


def check_transform(binarize: str | None, dequantize: bool, center: bool, logit: bool, kind: str = "pixels") -> None:
    """Check that a `PixelTransform` suits the other preprocessing.

    Raises:
        InputError: If the data are no pixels or binarized, or the logit is asked for of pixels without noise.

    Example:
        >>> check_transform("dynamic", True, False, True)
        Traceback (most recent call last):
            ...
        pyro_vaes.errors.InputError: logit is for gray values and colors, but binarize is 'dynamic': leave one of them
        out (command line: --no-logit)
    """
    for name, asked in (("center", center), ("logit", logit)):
        if not isinstance(asked, bool):
            raise InputError(f"{name} is {asked!r}: expected True or False")
        if asked and kind != "pixels":
            raise InputError(
                f"{name} is for pixels, but the data are {kind}: leave it out (command line: --no-{name}), or take the "
                "likelihood Standardized for real values"
            )
        if asked and binarize is not None:
            raise InputError(
                f"{name} is for gray values and colors, but binarize is {binarize!r}: leave one of them out "
                f"(command line: --no-{name})"
            )
    if logit and not dequantize:
        raise InputError(
            "logit is for dequantized pixels, but dequantize is False, as likelihoods of gray levels need it: leave "
            "logit out (command line: --no-logit), or take the Gaussian likelihood"
        )
