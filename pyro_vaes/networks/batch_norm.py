"""Batch normalization of networks of any number of leading dimensions."""

from __future__ import annotations

import itertools

from torch import Tensor, nn

_RESHAPES = (nn.Flatten, nn.Unflatten)


class FeatureBatchNorm(nn.BatchNorm1d):
    """Batch normalization of features over all leading dimensions, S samples of each datum alike.

    Shapes:
        ``(..., D)`` to ``(..., D)``.

    Example:
        >>> FeatureBatchNorm(3)(torch.randn(5, 4, 3)).shape
        torch.Size([5, 4, 3])
    """

    def forward(self, features: Tensor) -> Tensor:
        """(h - mean) / sqrt(variance + 1e-5), times a learned gain, plus a learned bias."""
        return super().forward(features.reshape(-1, features.shape[-1])).reshape(features.shape)


def batch_normalize(network: nn.Module) -> None:
    """Batch normalization between every linear or convolutional layer and the nonlinearity that follows it.

    The bias of such a layer is dropped, since the mean is subtracted; that of the normalization stands in its place.

    In training mode an example's output then depends on its batch. In evaluation mode, hence in validation and in all
    estimates, running averages of mean and variance take the batch's place, so that log-densities are those of one
    datum.

    Args:
        network: a network whose layers are in ``nn.Sequential``, as those here; changed in place.

    References:
        Batch Normalization (Ioffe, Szegedy, 2015).

    Example:
        >>> network = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> batch_normalize(network)
        >>> [type(layer).__name__ for layer in network.modules()]
        ['Sequential', 'Sequential', 'Linear', 'FeatureBatchNorm', 'ReLU', 'Linear']
    """
    for layers in [each for each in network.modules() if isinstance(each, nn.Sequential)]:
        for (name, layer), (_, after) in itertools.pairwise(list(layers.named_children())):
            if _is_nonlinearity(after) and (norm := _norm_of(layer)) is not None:
                layer.register_parameter("bias", None)
                layers._modules[name] = nn.Sequential(layer, norm)


def _norm_of(layer: nn.Module) -> nn.Module | None:
    """The normalization of a layer's outputs; None if it is neither linear nor a convolution."""
    if isinstance(layer, nn.Linear):
        return FeatureBatchNorm(layer.out_features)
    return nn.BatchNorm2d(layer.out_channels) if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) else None


def _is_nonlinearity(layer: nn.Module) -> bool:
    return not (any(True for _ in layer.parameters()) or isinstance(layer, _RESHAPES))
