"""The conditional VAE."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyro_vaes.errors import InputError
from pyro_vaes.given import Given, bind, names_input
from pyro_vaes.likelihoods import Likelihood
from pyro_vaes.networks.conditional import ConditionalDecoder, ConditionalEncoder
from pyro_vaes.networks.probe import reference_weight
from pyro_vaes.priors import Prior, VampPrior
from pyro_vaes.vae import VAE
from pyro_vaes.validation import checked_sizes


class ConditionalVAE(VAE):
    """The model p(x, z | c) = p(z | c) p(x | decoder([z, c])) of data x given a condition c.

    The condition is an argument y of model and guide: a label, which goes into the networks one-hot, or a vector.
    ``fit`` and ``evaluate`` pass it; ``pyro_vaes.given.bind`` gives a view with y fixed, on which ``decode``,
    ``log_joint`` and all else are those of a ``VAE``. Every guide of a ``VAE`` serves; its encoder gets a layer for the
    condition, see :class:`~pyro_vaes.networks.ConditionalEncoder`, unless it names ``y`` in its own signature. So does
    the decoder's input; a prior is p(z) unless it names y, as :class:`~pyro_vaes.models.ConditionalPrior` does.

    Args:
        decoder: any module ``[z, c] (..., Z + C) -> features``, or one of z that names y, ``forward(z, y)``.
        prior: p(z), or p(z | c).
        likelihood: p(x | features).
        condition_dim: number C of classes, or size of the vectors.

    Shapes:
        ``x (B, *event_shape)`` and ``y (B,)``, integers in {0, …, C - 1}, or ``(B, C)``; see :class:`VAE`.

    Raises:
        InputError: As for :class:`VAE`, or if the prior is made of the guide's posteriors; when called, if y is missing
            or has another size.

    References:
        Learning Structured Output Representation using Deep Conditional Generative Models (Sohn, Lee, Yan, 2015);
        Semi-Supervised Learning with Deep Generative Models (Kingma, Rezende, Mohamed, Welling, 2014), model M2.

    Example:
        >>> import pyro_vaes as pv
        >>> decoder = pv.networks.MLPDecoder(2 + 10, (1, 8, 8), hidden=(16,))
        >>> model = ConditionalVAE(decoder, pv.priors.StandardNormal(2), pv.likelihoods.Gaussian(), condition_dim=10)
        >>> guide = pv.guides.MeanField(model, encoder)
        >>> sevens = torch.full((4,), 7)
        >>> pv.evaluate.log_weights(model, guide, x, num_samples=5, y=sevens).shape, model.sample(3, sevens).shape
        (torch.Size([5, 4]), torch.Size([3, 1, 8, 8]))
    """

    condition_dim: int

    def __init__(self, decoder: nn.Module, prior: Prior, likelihood: Likelihood, condition_dim: int) -> None:
        checked_sizes(condition_dim=(condition_dim,))
        if isinstance(prior, VampPrior):
            raise InputError(
                "VampPrior is a mixture of posteriors at pseudo-inputs, which have no condition: take another prior"
            )
        joined = decoder if names_input(decoder) else ConditionalDecoder(decoder, condition_dim)
        self.__dict__["condition_dim"] = condition_dim  # before nn.Module's own __init__, as the decoder is tried there
        super().__init__(joined, prior, likelihood)

    def forward(  # type: ignore[override]
        self, x: Tensor, y: Tensor, mask: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The Pyro model: site ``z`` and ``x`` (observed, where the mask is True), given y; returns z by site."""
        if len(y) != len(x):
            raise InputError(f"y has {len(y)} rows for the {len(x)} observations of x: give one each")
        return VAE.forward(bind(self, Given(y=y)), x, mask=mask)

    @torch.no_grad()
    def sample(self, n: int, y: Tensor | None = None) -> Tensor:
        """N draws of x from the model, given each y in turn, shape ``(n, *event_shape)``."""
        if y is None:
            return super().sample(n)
        given = Given(y=y)
        self.check_given(given)
        return VAE.sample(bind(self, given), n)

    def example_given(self) -> Given:
        """A condition of one row that is 0."""
        return Given(y=torch.zeros(1, self.condition_dim, device=reference_weight(self.decoder).device))

    def adapt_encoder(self, encoder: nn.Module) -> nn.Module:
        """The encoder with a layer for the condition, unless it names y itself."""
        return encoder if names_input(encoder) else ConditionalEncoder(encoder, self.condition_dim)

    def check_given(self, given: Given) -> None:
        """Refuse a condition of another size, or a label out of range.

        Raises:
            InputError: If it is; names the first such label.
        """
        y = given["y"]
        if y.dim() != 1:
            if y.shape[1:] != (self.condition_dim,):
                raise InputError(
                    f"y has the shape {tuple(y.shape)}, but the model's condition has the size {self.condition_dim}: "
                    f"give vectors (N, {self.condition_dim}), or labels (N,)"
                )
            return
        labels = torch.arange(self.condition_dim, device=y.device)
        wrong = (y.unsqueeze(-1) != labels).all(-1)
        if wrong.any():
            row = int(wrong.int().argmax())
            raise InputError(
                f"y[{row}] is {y[row].item():g}: labels of this model are whole numbers from 0 to "
                f"{self.condition_dim - 1}; build it with another condition_dim, or leave such data out"
            )
