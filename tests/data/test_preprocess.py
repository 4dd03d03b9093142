"""Preprocessing: dequantization, scaling, binarization."""

import pytest
import torch

from pyro_vaes.data import Preprocessing
from pyro_vaes.errors import InputError
from tests.helpers.arrays import make, pixels


class TestPreparation:
    raw = torch.arange(17, dtype=torch.uint8).expand(4000, 17)

    def test_dequantised(self):
        x = Preprocessing(num_bins=17)(self.raw, torch.Generator().manual_seed(0))
        noise = x * 17 - self.raw
        assert noise.min() > -1e-5
        assert noise.max() < 1
        # mean of n uniforms: standard error 1 / sqrt(12 n), n = 68,000; 4 of them
        assert abs(noise.mean() - 0.5) < 4 / (12 * noise.numel()) ** 0.5
        assert abs(noise.var() - 1 / 12) < 0.002

    def test_dequantised_white_stays_below_one(self):
        x = Preprocessing()(torch.full((2**20,), 255, dtype=torch.uint8), torch.Generator().manual_seed(0))
        assert x.max() < 1
        assert (x * 256).floor().unique().tolist() == [255]

    def test_scaled(self):
        x = Preprocessing(dequantize=False, num_bins=17)(self.raw)
        assert torch.equal(x[0], torch.arange(17) / 16)

    def test_dynamic(self):
        generator = torch.Generator().manual_seed(0)
        preprocess = Preprocessing("dynamic", num_bins=17)
        x = preprocess(self.raw, generator)
        assert set(x.unique().tolist()) == {0, 1}
        p = torch.arange(17) / 16
        assert ((x.mean(0) - p).abs() <= 4 * (p * (1 - p) / 4000).sqrt()).all()  # 4 standard errors
        assert not torch.equal(x, preprocess(self.raw, generator))

    def test_threshold(self):
        assert Preprocessing("threshold", num_bins=17)(self.raw)[0].tolist() == [0.0] * 8 + [1.0] * 9
        assert Preprocessing("threshold")(torch.tensor([127, 128], dtype=torch.uint8)).tolist() == [0, 1]

    def test_float_pixels_are_probabilities(self):
        p = torch.tensor([0, 0.25, 0.5, 1]).expand(4000, 4)
        assert torch.equal(Preprocessing(num_bins=None)(p), p)
        assert torch.equal(Preprocessing()(p), p)
        assert Preprocessing("threshold")(p)[0].tolist() == [0, 0, 1, 1]
        mean = Preprocessing("dynamic")(p, torch.Generator().manual_seed(0)).mean(0)
        assert ((mean - p[0]).abs() <= 4 * (p[0] * (1 - p[0]) / 4000).sqrt()).all()

    def test_unknown(self):
        with pytest.raises(InputError, match=r"unknown binarization 'dinamic': did you mean 'dynamic'\?"):
            Preprocessing("dinamic")
        with pytest.raises(InputError, match="unknown binarization"):
            make(pixels(20, 8, 8), binarize="otsu")
        with pytest.raises(InputError, match="unknown channels 'frist'"):
            make(pixels(20, 8, 8), channels="frist")

    def test_every_preparation_describes_itself(self):
        every = [Preprocessing(b) for b in (None, "dynamic", "static", "threshold")]
        every += [Preprocessing(dequantize=False), Preprocessing(num_bins=None)]
        assert len({p.describe() for p in every}) == len(every)
