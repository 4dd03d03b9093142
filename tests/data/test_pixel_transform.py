"""Centered pixels, and logits of pixels with their density."""

import math

import numpy as np
import pytest
import torch
import yaml
from torch.distributions import Independent, Normal, TransformedDistribution

from pyro_vaes.data import PixelTransform, Preprocessing, load
from pyro_vaes.data.pixel_transform import LOGIT
from pyro_vaes.errors import InputError
from pyro_vaes.recipes import Settings, load_data
from pyro_vaes.runs.load_run import load_run
from tests.helpers.arrays import make, pixels
from tests.helpers.command_line import run

BOTH = PixelTransform(logit=True, mean=torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64))


@pytest.fixture
def values():
    return torch.rand(6, 3, dtype=torch.float64)


class TestDensity:
    def test_equals_the_change_of_variables(self, values):
        """Of a normal model of x, against torch's own density of the pixels."""
        loc, scale = torch.randn(3, dtype=torch.float64), torch.rand(3, dtype=torch.float64) + 0.5
        model = Independent(Normal(loc, scale), 1)
        shifted = Independent(Normal(loc + BOTH.mean, scale), 1)
        in_pixels = model.log_prob(BOTH(values)) + BOTH.log_abs_det_jacobian(values)
        assert (in_pixels - TransformedDistribution(shifted, LOGIT.inv).log_prob(values)).abs().max() < 1e-8

    def test_jacobian_equals_that_of_automatic_differentiation(self, values):
        jacobians = torch.stack([torch.func.jacrev(BOTH)(each) for each in values])
        assert (jacobians.slogdet().logabsdet - BOTH.log_abs_det_jacobian(values)).abs().max() < 1e-8

    def test_density_of_pixels_integrates_to_one(self):
        nodes, weights = (torch.from_numpy(each) for each in np.polynomial.legendre.leggauss(400))
        low, high = -0.05 / 0.9, 0.95 / 0.9  # the logit covers all of R on these squeezed back
        v = ((high - low) * nodes + high + low).unsqueeze(1) / 2
        model = Normal(*torch.tensor([0.3, 0.8], dtype=torch.float64))
        density = (model.log_prob(LOGIT(v)).squeeze(1) + PixelTransform(True).log_abs_det_jacobian(v)).exp()
        assert abs((density * weights).sum() * (high - low) / 2 - 1) < 1e-8

    def test_images_have_one_jacobian_each(self):
        x = torch.rand(4, 3, 5, 5, dtype=torch.float64)
        each = 0.9 / ((0.05 + 0.9 * x) * (0.95 - 0.9 * x))
        assert torch.allclose(PixelTransform(True).log_abs_det_jacobian(x), each.log().sum((1, 2, 3)), atol=1e-8)
        assert PixelTransform(mean=x[0])(x).shape == x.shape
        assert torch.equal(PixelTransform(mean=x[0]).log_abs_det_jacobian(x), torch.zeros(4, dtype=torch.float64))


class TestValues:
    def test_inverse(self, values):
        for transform in (PixelTransform(), PixelTransform(True), PixelTransform(mean=BOTH.mean), BOTH):
            assert (transform.inverse(transform(values)) - values).abs().max() < 1e-12

    def test_logit_of_dequantized_pixels(self):
        stored = torch.arange(256, dtype=torch.uint8).expand(50, 256)
        x = Preprocessing(transform=PixelTransform(True))(stored, torch.Generator().manual_seed(0))
        plain = Preprocessing()(stored, torch.Generator().manual_seed(0)).double()
        squeezed = 0.05 + 0.9 * plain
        assert x.dtype == torch.float32
        assert (x - (squeezed / (1 - squeezed)).log()).abs().max() < 1e-5
        assert x.abs().max() < math.log(0.95 / 0.05)

    @pytest.mark.parametrize("logit", [False, True])
    def test_the_mean_of_the_training_images_is_subtracted_from_every_split(self, logit):
        plain, centered = (make(pixels(90, 4, 4), logit=logit, center=center) for center in (False, True))
        mean = plain.train.x.double().mean(0)
        assert (centered.train.preprocessing.transform.mean - mean).abs().max() < 1e-6
        for part in ("train", "valid", "test"):
            x, expected = getattr(centered, part).x, getattr(plain, part).x - mean
            assert (x - expected).abs().max() < 1e-5
        assert (centered.as_pixels(centered.test.x) - plain.as_pixels(plain.test.x)).abs().max() < 1e-6

    def test_float_pixels(self):
        x = np.random.default_rng(0).random((50, 6))
        data = make(x, center=True)
        assert data.train.x.mean(0).abs().max() < 1e-6
        assert torch.allclose(data.as_pixels(data.test.x), torch.from_numpy(x[:5]).float(), atol=1e-6)

    def test_training_batches_are_transformed_on_the_type_of_the_model(self):
        train = make(pixels(90, 4, 4), center=True, dequantize=False).train.to("cpu", torch.float64)
        batch = train.preprocess(train.pixels[:3])
        assert batch.dtype == torch.float64
        assert torch.equal(batch, train.x[:3])


class TestOptions:
    def test_description(self):
        assert make(pixels(90, 4, 4), center=True, logit=True).description.endswith(
            "dequantized with uniform noise (256 bins), as logits of 0.05 + 0.9 of them, densities in logit space, "
            "minus the per-pixel training mean"
        )
        assert "mean" not in make(pixels(90, 4, 4)).description

    def test_by_name_and_by_settings(self):
        data = load("digits", center=True, logit=True)
        assert data.train.x.mean(0).abs().max() < 1e-5
        same = load_data(Settings(center=True, logit=True))
        assert torch.equal(data.test.x, same.test.x)

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (
                {"center": True, "binarize": "dynamic"},
                "center is for gray values .* binarize is 'dynamic'.*--no-center",
            ),
            ({"logit": True, "binarize": "static"}, "logit is for gray values .* binarize is 'static'.*--no-logit"),
            ({"logit": True, "dequantize": False}, "logit is for dequantized pixels"),
            ({"center": 1}, "center is 1: expected True or False"),
        ],
    )
    def test_contradictions_are_refused(self, options, words):
        with pytest.raises(InputError, match=words):
            make(pixels(90, 4, 4), **options)
        with pytest.raises(InputError, match=words):
            load("mnist", **options)

    def test_a_likelihood_of_binary_data_is_refused(self):
        with pytest.raises(InputError, match="binarize is 'dynamic'"):
            load_data(Settings(likelihood="bernoulli", center=True))

    def test_command_line(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        np.savez("tiny.npz", x_train=pixels(60, 8, 8))
        small = ["--epochs", "1", "--latent-dim", "2", "--hidden", "8", "--device", "cpu"]
        assert run("train", "laplace", "--data", "tiny.npz", "--center", "--logit", "--out", "run", *small) == 0
        config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
        assert (config["center"], config["logit"]) == (True, True)
        data = load_run("run").data
        assert data.description.endswith(
            "minus the per-pixel training mean; test split: a tenth of x_train, drawn by seed 0"
        )
        assert run("train", "--config", "run/config.yaml", "--no-logit", "--out", "second", *small) == 0
        assert not load_run("second").data.train.preprocessing.transform.logit
        assert run("sample", "run", "--n", "4") == 0
        assert run("traverse", "run", "--points", "2") == 0
