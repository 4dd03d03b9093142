"""Plain torch modules: encoders, decoders and what guides ask of them. No Pyro here."""

from pyro_vaes.networks.conv import ConvDecoder, ConvEncoder
from pyro_vaes.networks.linearize import Linearization, linear_head, linearize
from pyro_vaes.networks.mlp import MLPDecoder, MLPEncoder

__all__ = [
    "ConvDecoder",
    "ConvEncoder",
    "Linearization",
    "MLPDecoder",
    "MLPEncoder",
    "linear_head",
    "linearize",
]
