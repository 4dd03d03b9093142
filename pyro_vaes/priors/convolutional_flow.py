"""The convolutional flow prior of feature maps."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pyro_vaes.errors import InputError
from pyro_vaes.networks.made import ConvolutionalMADE
from pyro_vaes.priors.flow import Flow, TransformKind
from pyro_vaes.validation import checked_sizes


class ConvolutionalFlow(Flow):
    """Autoregressive flow prior for latents that are feature maps, with masked convolutions as networks.

    The transforms are those of :class:`AutoregressiveFlow`. The coordinates are in raster order, and in the order of
    the channels within a pixel; every second transform reverses both. A network's receptive field extends over as many
    rows and columns as it has layers, and its weights are shared by all pixels. The latent z is the flattened maps
    ``(C, H, W)``. The density takes one pass of each network; a draw takes C H W passes, one per coordinate.

    Args:
        latent_dim: size Z of the latent, C H W.
        event_shape: shape ``(C, H, W)`` of the maps.
        flows: number of transforms.
        channels: channels of the hidden layers of each network.
        transform: kind of the transforms, ``"mean"``, ``"affine"`` or ``"gated"``.

    Attributes:
        flows: the masked networks, in the order from z to ε.

    Shapes:
        A distribution with batch shape ``()`` and event shape ``(Z,)``, Z = C H W.

    Raises:
        InputError: If the maps have a single coordinate or another size than the latent, a size is not a positive
            integer, or the transform is unknown.

    References:
        Variational Lossy Autoencoder (Chen et al., 2017);
        MAE: Mutual Posterior-Divergence Regularization for Variational AutoEncoders (Ma, Zhou, Hovy, 2019).

    Example:
        >>> prior = ConvolutionalFlow(12, event_shape=(3, 2, 2), flows=2, channels=(8,))
        >>> z = prior().sample((5,))
        >>> z.shape, prior().log_prob(z).shape
        (torch.Size([5, 12]), torch.Size([5]))
    """

    def __init__(
        self,
        latent_dim: int,
        event_shape: Sequence[int],
        flows: int = 4,
        channels: Sequence[int] = (64,),
        transform: TransformKind = "affine",
    ) -> None:
        (event_shape,) = checked_sizes(event_shape=event_shape)
        if (size := math.prod(event_shape)) != latent_dim:
            raise InputError(
                f"event_shape is {event_shape}, which has {size} coordinates, but latent_dim is {latent_dim}: "
                f"take latent_dim={size}, or a shape (C, H, W) whose product is {latent_dim}"
            )
        super().__init__(
            latent_dim,
            flows,
            transform,
            lambda outputs, reverse: ConvolutionalMADE(event_shape, channels, outputs, reverse),
        )
