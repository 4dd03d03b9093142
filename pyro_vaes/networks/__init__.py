"""Plain torch modules: encoders, decoders, and masked and autoregressive networks. Independent of Pyro."""

from pyro_vaes.networks.batch_apply import BatchApply
from pyro_vaes.networks.batch_norm import FeatureBatchNorm, batch_normalize
from pyro_vaes.networks.conditional import ConditionalDecoder, ConditionalEncoder
from pyro_vaes.networks.constant import ConstantDecoder
from pyro_vaes.networks.conv import ConvDecoder, ConvEncoder
from pyro_vaes.networks.densenet import DenseNetDecoder, DenseNetEncoder
from pyro_vaes.networks.downsampling_pixelcnn import DownsamplingPixelCNN
from pyro_vaes.networks.gated_pixelcnn import GatedPixelCNN
from pyro_vaes.networks.ladder import LadderConvDecoder, LadderConvEncoder, LadderMLPDecoder, LadderMLPEncoder
from pyro_vaes.networks.last_coordinates import LastCoordinates
from pyro_vaes.networks.linearize import Linearization, linear_head, linearize
from pyro_vaes.networks.made import MADE
from pyro_vaes.networks.masked import MaskedConv2d, MaskedLinear
from pyro_vaes.networks.mlp import KaimingHeadMLPEncoder, MLPDecoder, MLPEncoder
from pyro_vaes.networks.noisy_input import NoisyInput
from pyro_vaes.networks.residual_pixelcnn import ResidualPixelCNN, SkipPixelCNN
from pyro_vaes.networks.resnet import LinearDecoder, ResNetDecoder, ResNetEncoder
from pyro_vaes.networks.weight_norm import initialize_weight_norm, weight_normalize

__all__ = [
    "MADE",
    "BatchApply",
    "ConditionalDecoder",
    "ConditionalEncoder",
    "ConstantDecoder",
    "ConvDecoder",
    "ConvEncoder",
    "DenseNetDecoder",
    "DenseNetEncoder",
    "DownsamplingPixelCNN",
    "FeatureBatchNorm",
    "GatedPixelCNN",
    "KaimingHeadMLPEncoder",
    "LadderConvDecoder",
    "LadderConvEncoder",
    "LadderMLPDecoder",
    "LadderMLPEncoder",
    "LastCoordinates",
    "LinearDecoder",
    "Linearization",
    "MLPDecoder",
    "MLPEncoder",
    "MaskedConv2d",
    "MaskedLinear",
    "NoisyInput",
    "ResNetDecoder",
    "ResNetEncoder",
    "ResidualPixelCNN",
    "SkipPixelCNN",
    "batch_normalize",
    "initialize_weight_norm",
    "linear_head",
    "linearize",
    "weight_normalize",
]
