"""Data and modes in all of evaluation: what is refused or converted, and that nothing is changed."""

import inspect
import warnings
from functools import partial

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import Adam
from scipy.sparse import csr_array
from torch import nn

import pyro_vaes as pv
from pyro_vaes import VAE, evaluate, plots
from pyro_vaes.data import Data
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate.inputs import as_input
from pyro_vaes.guides import MeanField
from pyro_vaes.likelihoods import Bernoulli, DiscretizedLogistic, Gaussian, Likelihood, PixelCNN, PixelCNNPP, Poisson
from pyro_vaes.models import LadderGuide, LadderVAE
from pyro_vaes.networks import LadderMLPDecoder, LadderMLPEncoder, MLPDecoder, MLPEncoder
from pyro_vaes.plots.traversals import draw_traversals
from pyro_vaes.priors import StandardNormal
from tests.helpers.linear_gaussian import LinearGaussian

SHAPE, N = (1, 4, 4), 5


class OwnNormal(Likelihood):
    """A likelihood of a user's own."""

    def forward(self, features):
        return self.to_event(dist.Normal(features, 1.0))


LIKELIHOODS = {
    "Bernoulli": Bernoulli,
    "Gaussian": Gaussian,
    "DiscretizedLogistic": partial(DiscretizedLogistic, num_bins=2),
    "Poisson": Poisson,
    "PixelCNN": lambda: PixelCNN(SHAPE, 1, layers=2, channels=4, window=(3, 2)),
    "PixelCNNPP": lambda: PixelCNNPP(SHAPE, 1, num_bins=2, components=2, blocks=1, channels=4),
    "own": OwnNormal,
}


def pair(likelihood=Bernoulli):
    vae = VAE(MLPDecoder(2, SHAPE, hidden=(8,)), StandardNormal(2), likelihood())
    return vae, MeanField(vae, MLPEncoder(SHAPE, hidden=(8,)))


def ladder():
    priors = [StandardNormal(2), StandardNormal(2)]
    model = LadderVAE(LadderMLPDecoder((2, 2), SHAPE, hidden=((8,), (8,))), priors, Gaussian(0.5))
    return model, LadderGuide(model, LadderMLPEncoder(SHAPE, hidden=((8,), (8,))))


def binary(*shape):
    return torch.bernoulli(torch.full((N, *shape), 0.5))


def reference(vae, x):
    return evaluate.reference_posterior(vae, x, num_samples=4, warmup_steps=1, num_chains=1)


#: Everything that takes data, by name.
TAKES_DATA = {
    "log_likelihood": lambda vae, guide, x: evaluate.log_likelihood(vae, guide, x, 5).per_datum,
    "log_weights": lambda vae, guide, x: evaluate.log_weights(vae, guide, x, 5),
    "marginal_log_likelihood": lambda vae, guide, x: evaluate.marginal_log_likelihood(vae, x, guide, 100).per_datum,
    "posterior_mean": lambda vae, guide, x: evaluate.posterior_mean(guide, x),
    "posterior_means": lambda vae, guide, x: evaluate.posterior_means(guide, x)["z"],
    "active_units": lambda vae, guide, x: evaluate.active_units(guide, x),
    "mutual_information": lambda vae, guide, x: evaluate.mutual_information(vae, guide, x).value,
    "inference_gaps": lambda vae, guide, x: evaluate.inference_gaps(vae, guide, x, 5, 2).gap,
    "annealed_importance_sampling": lambda vae, _, x: evaluate.annealed_importance_sampling(vae, x, 2, 3, 1).per_datum,
    "bidirectional_monte_carlo": lambda vae, _, x: evaluate.bidirectional_monte_carlo(vae, x, 2, 3, 1).lower,
    "reference_posterior": lambda vae, _, x: reference(vae, x).draws,
    "compare_with_reference": lambda vae, guide, x: (
        evaluate.compare_with_reference(guide, x, reference(vae, binary(*SHAPE))).guide_draws
    ),
    "calibration": lambda vae, guide, x: evaluate.calibration(vae, guide, 100, 9, like=x).ranks,
    "to_arviz": lambda vae, guide, x: evaluate.to_arviz(vae, guide, x, 28).posterior["z"].values,
    "inference_ms": lambda vae, guide, x: evaluate.inference_ms(guide, x, repeats=1),
    "impute": lambda vae, guide, x: evaluate.impute(vae, guide, x, num_samples=2, num_draws=100).draws,
    "posterior_covariance": lambda vae, guide, x: evaluate.posterior_covariance(guide, x),
    "predictive_check": lambda vae, guide, x: evaluate.predictive_check(vae, x, guide, num_replications=2).replicated[
        "variance"
    ],
    "ppca": lambda vae, _, x: evaluate.ppca(x, x, 1).per_datum,
    "plots.posteriors": lambda vae, guide, x: plots.posteriors({"a": (vae, guide)}, x, points=5),
    "draw_traversals": lambda vae, guide, x: draw_traversals(vae, guide, x, points=2),
}
MODEL_FREE = {"ppca"}
#: Public functions that take no data of a model, or, as fit_prior, more than a few.
OTHERS = {"clustering", "pareto_k", "smoothed_weights", "representation", "factor_probes"}
OTHERS |= {"difference", "mean_interval", "rank_ranges", "classification", "fit_prior"}
every_function = pytest.mark.parametrize("name", TAKES_DATA)


def test_no_public_function_is_left_out():
    functions = {name for name in evaluate.__all__ if inspect.isfunction(getattr(evaluate, name))}
    assert functions <= TAKES_DATA.keys() | OTHERS


@pytest.mark.parametrize("name", sorted(TAKES_DATA.keys() - MODEL_FREE))
@pytest.mark.parametrize("shape", [(4, 4, 1), (4, 4), (16,), (3, 4, 4)])
def test_data_of_another_shape_are_refused(name, shape):
    words = rf"shape \({', '.join(map(str, shape))},?\), but the model's have \(1, 4, 4\)"
    with pytest.raises(InputError, match=words):
        TAKES_DATA[name](*pair(), binary(*shape))


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_under_every_likelihood(likelihood):
    made = pair(LIKELIHOODS[likelihood])
    assert made[0].event_shape == SHAPE
    for shape in ((4, 4, 1), (1, 4), (1, 1, 4, 4)):
        with pytest.raises(InputError, match=r"the model's have \(1, 4, 4\)"):
            evaluate.log_likelihood(*made, binary(*shape), 5)
        with pytest.raises(InputError, match=r"the model's have \(1, 4, 4\)"):
            SVI(*made, Adam({}), Trace_ELBO()).step(binary(*shape))


@every_function
def test_values_that_are_not_finite_are_refused_with_their_index(name):
    for value, shown in ((torch.nan, "nan"), (torch.inf, "inf")):
        x = binary(*SHAPE)
        x[0, 0, 2, 1] = value
        with pytest.raises(InputError, match=rf"\[0, 0, 2, 1\] is {shown}: every value must be finite"):
            TAKES_DATA[name](*pair(), x)


@every_function
@pytest.mark.parametrize(
    ("convert", "words"),
    [
        (lambda x: x.tolist(), "is a list: expected a dense tensor or NumPy array"),
        (lambda x: x.numpy().astype(object), "is a ndarray: expected a dense tensor or NumPy array of numbers"),
        (lambda x: csr_array(x.flatten(1)), r"^(x\w*) is a sparse array: give \1\.toarray\(\)"),
        (lambda x: x.to_sparse(), r"^(x\w*) is a sparse tensor: give \1\.to_dense\(\)"),
        (lambda x: x.to("meta"), r"^x\w* is on the device meta"),
    ],
    ids=["list", "objects", "sparse array", "sparse tensor", "meta"],
)
def test_what_is_no_data_is_refused(name, convert, words):
    with pytest.raises(InputError, match=words):
        TAKES_DATA[name](*pair(), convert(binary(*SHAPE)))


@pytest.mark.parametrize("name", sorted(TAKES_DATA.keys() - {"inference_ms", "plots.posteriors", "draw_traversals"}))
def test_arrays_and_float64_are_converted(name):
    made, x = pair(), binary(*SHAPE)
    results = []
    for each in (x, x.double(), x.numpy(), x.double().numpy()[:, ::-1], x.numpy().astype(bool), x.long()):
        torch.manual_seed(0)
        results.append(TAKES_DATA[name](*made, each))
    for result in results[1:]:
        assert np.array_equal(np.asarray(result), np.asarray(results[0]), equal_nan=True)


def test_a_model_in_float64_takes_float32():
    linear = LinearGaussian(latent_dim=2)
    weights = evaluate.log_weights(linear.vae, linear.exact_guide(), linear.x.float().numpy(), 3)
    torch.testing.assert_close(weights, linear.log_evidence.expand_as(weights), rtol=0, atol=1e-4)


def test_a_mask_of_nothing_is_no_mask():
    (vae, _), x = pair(), binary(*SHAPE)
    masks = np.zeros(x.shape, bool), torch.ones(x.shape, dtype=torch.bool)
    with warnings.catch_warnings(action="ignore"):  # a prototype
        masked = [np.ma.array(x.numpy(), mask=masks[0]), torch.masked.masked_tensor(x, masks[1])]
    for each in masked:
        found = as_input(vae, each)
        assert type(found) is torch.Tensor
        assert torch.equal(found, x)


@every_function
@pytest.mark.parametrize("x", [torch.tensor(1.0), np.zeros(())], ids=["tensor", "array"])
def test_a_number_is_no_data(name, x):
    with pytest.raises(InputError, match="holds no data: give at least one observation"):
        TAKES_DATA[name](*pair(), x)


def test_data_of_a_users_own_module_keep_their_integers():
    words = nn.Embedding(3, 2)
    assert as_input(words, np.array([[0, 2]])).dtype == torch.int64
    assert as_input(words, np.array([[0.0, 2.0]])).dtype == torch.float32


def test_splits_of_other_data_are_refused():
    data = Data.from_arrays(x_train=torch.rand(20, 1, 5, 4), y_train=torch.arange(20) % 2, channels="first")
    for probe in (evaluate.representation, evaluate.factor_probes, partial(pv.traverse, out="nowhere", progress=False)):
        with pytest.raises(InputError, match=r"shape \(1, 5, 4\), but the model's have \(1, 4, 4\)"):
            probe(*pair(), data=data)
    with pytest.raises(InputError, match=r"shape \(1, 5, 4\), but the model's have \(1, 4, 4\)"):
        pv.export(*pair(), data.test.x, "nowhere")
    with pytest.raises(InputError, match=r"x_train holds data of shape \(1, 5, 4\), x_test of \(1, 4, 4\)"):
        evaluate.ppca(data.train.x, binary(*SHAPE), 1)


def noisy_pair():
    """A pair with dropout and batch normalization in training mode, but for one part."""
    decoder = nn.Sequential(nn.Linear(2, 16), nn.Dropout(), nn.Unflatten(-1, SHAPE))
    vae = VAE(decoder, StandardNormal(2), Bernoulli())
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.BatchNorm1d(6), nn.Dropout())
    guide = MeanField(vae, encoder)
    encoder[0].eval()
    return vae, guide


@pytest.mark.parametrize("name", sorted(TAKES_DATA.keys() - MODEL_FREE))
def test_evaluation_after_training_is_in_evaluation_mode_and_changes_nothing(name):
    vae, guide = noisy_pair()
    x = binary(*SHAPE)
    SVI(vae, guide, Adam({"lr": 0.1}), Trace_ELBO()).step(x)
    parts = [*vae.modules(), *guide.modules()]
    modes = [part.training for part in parts]
    state = {key: value.clone() for module in (vae, guide) for key, value in module.state_dict().items()}
    assert state["encoder.2.num_batches_tracked"] == 1
    torch.manual_seed(0)
    found = TAKES_DATA[name](vae, guide, x)
    assert [part.training for part in parts] == modes
    for module in (vae, guide):
        for key, value in module.state_dict().items():
            assert torch.equal(value, state[key]), key
    if name not in ("inference_ms", "plots.posteriors", "draw_traversals"):
        vae.eval(), guide.eval()
        torch.manual_seed(0)
        assert np.array_equal(np.asarray(found), np.asarray(TAKES_DATA[name](vae, guide, x)), equal_nan=True)


def test_reports_and_programs_change_nothing(tmp_path):
    images = (255 * torch.rand(20, 4, 4)).byte()
    data = Data.from_arrays(x_train=images, y_train=torch.arange(20) % 2, x_test=images, y_test=torch.arange(20) % 2)
    vae, guide = noisy_pair()
    vae.likelihood = Gaussian(0.5)
    vae.likelihood.set_event_dim(3)
    parts = [*vae.modules(), *guide.modules()]
    modes, norm = [part.training for part in parts], guide.encoder[2]
    pv.traverse(vae, guide, data, tmp_path, points=2, progress=False)
    pv.diagnose({"a": (vae, guide)}, data, tmp_path, images=2, num_samples=5, num_steps=2, progress=False)
    pv.export(vae, guide, data.test.x, tmp_path)
    evaluate.representation(vae, guide, data)
    evaluate.factor_probes(vae, guide, data)
    assert [part.training for part in parts] == modes
    assert norm.num_batches_tracked == 0
    exported = torch.export.load(tmp_path / "encoder.pt2").module()
    torch.testing.assert_close(exported(data.test.x)[0], guide.eval().posterior(data.test.x).mean)


def test_hierarchies_share_the_check():
    for shape in ((4, 4, 1), (16,)):
        with pytest.raises(InputError, match=r"the model's have \(1, 4, 4\)"):
            evaluate.log_likelihood(*ladder(), torch.rand(N, *shape), 5)
    assert evaluate.log_likelihood(*ladder(), torch.rand(N, *SHAPE).numpy(), 5).per_datum.shape == (N,)
