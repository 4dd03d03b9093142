"""An estimate that goes on from the chunks that an earlier call finished."""

import contextlib

import pytest
import torch

from pyro_vaes import VAE, guides
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate import marginal_log_likelihood
from pyro_vaes.evaluate.marginal import chunks, estimate
from pyro_vaes.likelihoods import Gaussian
from pyro_vaes.networks import MLPDecoder, MLPEncoder
from pyro_vaes.priors import StandardNormal


@pytest.fixture
def problem(monkeypatch):
    """A model, data in five chunks, and a guide."""
    monkeypatch.setattr(estimate, "BLOCK_VALUES", 2 * 100 * 2)
    torch.manual_seed(0)
    vae = VAE(MLPDecoder(2, (3,), hidden=(4,)), StandardNormal(2), Gaussian())
    return vae, torch.randn(9, 3), guides.MeanField(vae, MLPEncoder((3,), hidden=(4,)))


def interrupted(monkeypatch, after, call):
    """Interrupt a call when it starts another chunk than the first ones; returns the number it started."""
    started, whole = [], estimate._estimate

    def counted(*arguments):
        started.append(1)
        if len(started) > after:
            raise KeyboardInterrupt
        return whole(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(estimate, "_estimate", counted)
        with contextlib.suppress(KeyboardInterrupt):
            call()
    return len(started)


def test_an_interrupted_estimate_goes_on_to_the_same_figures(problem, tmp_path, monkeypatch):
    vae, x, guide = problem
    expected = marginal_log_likelihood(vae, x, guide, 100)

    def again():
        return marginal_log_likelihood(vae, x, guide, 100, out=tmp_path)

    assert interrupted(monkeypatch, 3, again) == 4
    assert len(list(tmp_path.iterdir())) == 3
    assert interrupted(monkeypatch, 9, again) == 2
    result = again()
    for name in ("per_datum", "per_datum_stderr", "pareto_k", "effective_samples"):
        assert torch.equal(getattr(result, name), getattr(expected, name)), name
    assert result.method == expected.method


def test_chunks_do_not_depend_on_the_data_after_them(problem):
    vae, x, _ = problem
    few, all_of_them = (marginal_log_likelihood(vae, part, num_samples=100) for part in (x[:4], x))
    assert torch.equal(few.per_datum, all_of_them.per_datum[:4])


@pytest.mark.parametrize("change", ["data", "weights", "guide", "seed", "samples", "tolerance"])
def test_chunks_of_another_estimate_are_not_read(problem, tmp_path, change):
    vae, x, guide = problem
    marginal_log_likelihood(vae, x, guide, 100, out=tmp_path)
    before = set(tmp_path.iterdir())
    options = {"num_samples": 100, "seed": 0, "tolerance": 0.05}
    if change == "data":
        x = x + 0.01
    elif change == "weights":
        vae.decoder[0].weight.data += 0.01
    elif change == "guide":
        guide = None
    else:
        options |= {"seed": {"seed": 1}, "samples": {"num_samples": 101}, "tolerance": {"tolerance": 0.06}}[change]
    result = marginal_log_likelihood(vae, x, guide, **options, out=tmp_path)
    assert set(tmp_path.iterdir()) > before
    assert torch.equal(result.per_datum, marginal_log_likelihood(vae, x, guide, **options).per_datum)


def test_a_damaged_chunk_is_computed_again(problem, tmp_path):
    vae, x, _ = problem
    expected = marginal_log_likelihood(vae, x, num_samples=100, out=tmp_path)
    damaged = sorted(tmp_path.iterdir())[1]
    damaged.write_bytes(damaged.read_bytes()[:-9])
    result = marginal_log_likelihood(vae, x, num_samples=100, out=tmp_path)
    assert torch.equal(result.per_datum, expected.per_datum)


def test_a_model_without_weights_to_tell_is_refused(tmp_path):
    with pytest.raises(InputError, match="no torch module"):
        chunks.Chunks(tmp_path, torch.zeros(2, 3), [lambda x: None, None])
