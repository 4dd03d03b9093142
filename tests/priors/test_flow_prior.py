"""The prior of any flow: exact densities, gradients of all weights, copies, flows of zuko, and what is refused."""

import copy

import pyro.distributions.transforms as pt
import pytest
import torch
import torch.distributions.transforms as tt
from pyro.nn import DenseNN
from torch.autograd.functional import jacobian

from pyro_vaes import VAE, fit, testing
from pyro_vaes.data import Data
from pyro_vaes.errors import InputError
from pyro_vaes.guides import MeanField
from pyro_vaes.likelihoods import Gaussian
from pyro_vaes.networks import MLPDecoder, MLPEncoder
from pyro_vaes.priors import AutoregressiveFlow, FlowPrior, GaussianMixture, StandardNormal
from pyro_vaes.testing import PRIOR_CHECKS
from pyro_vaes.testing.models import PAIR_CHECKS

FLOWS = {
    "spline": lambda size: pt.spline(size, count_bins=3),
    "spline-autoregressive": lambda size: pt.spline_autoregressive(size, [8], count_bins=3),
    "inverse": lambda size: pt.spline_autoregressive(size, [8], count_bins=3).inv,
    "coupling": lambda size: [
        pt.affine_coupling(size, [8]),
        pt.permute(size, torch.arange(size).flip(0)),
        pt.affine_coupling(size, [8]).inv,
    ],
    "composition": lambda size: (
        pt.ComposeTransformModule([pt.spline(size, count_bins=3), pt.affine_coupling(size, [8])]).inv
    ),
    "torch": lambda size: [tt.AffineTransform(1.0, 0.5), tt.AffineTransform(0.0, -2.0)],
    "spline-coupling": lambda size: pt.spline_coupling(size, hidden_dims=[8], count_bins=3),
    "zuko": lambda size: pytest.importorskip("zuko").flows.NSF(size, transforms=2, hidden_features=(8,)),
}
every_flow = pytest.mark.parametrize("flow", FLOWS.values(), ids=FLOWS)


def scattered(prior, scale=0.3):
    """In float64, with other weights than the first ones."""
    with torch.no_grad():
        for p in prior.double().parameters():
            p.add_(scale * torch.randn_like(p))
    return prior


@every_flow
@torch.no_grad()
def test_density_integrates_to_one_in_two_dimensions(flow):
    p = FlowPrior(2, flow(2)).double()()
    line = torch.linspace(-6, 6, 601, dtype=torch.float64)
    densities = [p.log_prob(part).exp().sum() for part in torch.cartesian_prod(line, line).split(200_000)]
    total = sum(densities) * (line[1] - line[0]) ** 2
    assert total.item() == pytest.approx(1, abs=2e-3)  # the density of splines has kinks and narrow peaks


@torch.no_grad()
def test_density_integrates_to_one_in_one_dimension():
    p = scattered(FlowPrior(1, [pt.spline(1, count_bins=3), tt.AffineTransform(1.0, 2.0)]))()
    line = torch.linspace(-20, 20, 20_001, dtype=torch.float64)
    total = p.log_prob(line[:, None]).exp().sum() * (line[1] - line[0])
    assert total.item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", [name for name in FLOWS if name != "zuko"])
def test_density_equals_autograd(name):
    prior = scattered(FlowPrior(4, FLOWS[name](4)))
    noise = torch.randn(5, 4).double()
    p = prior()
    apply = lambda eps: [eps := each(eps) for each in p.transforms][-1]  # noqa: E731
    determinant = torch.stack([torch.linalg.slogdet(jacobian(apply, row)).logabsdet for row in noise])
    z = apply(noise)
    expected = StandardNormal(4).double()().log_prob(noise) - determinant
    torch.testing.assert_close(prior().log_prob(z.clone()), expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("transform", ["mean", "affine", "gated"])
def test_transforms_of_the_autoregressive_flow_give_its_prior(transform):
    flow = scattered(AutoregressiveFlow(4, flows=3, hidden=(8,), transform=transform))
    prior = FlowPrior(4, [each.inv for each in reversed(flow.transforms())]).double()
    z = 2 * torch.randn(7, 4).double()
    torch.testing.assert_close(prior().log_prob(z), flow().log_prob(z))
    assert {*map(id, flow.parameters())} == {*map(id, prior.parameters())}
    torch.manual_seed(1)
    draws = prior().sample((3,))
    torch.manual_seed(1)
    torch.testing.assert_close(draws, flow().sample((3,)))


@every_flow
def test_gradients_reach_every_weight(flow):
    prior, z = scattered(FlowPrior(3, flow(3))), torch.randn(20, 3).double().requires_grad_()
    prior().log_prob(z).sum().backward()
    assert z.grad.isfinite().all()
    for name, p in prior.named_parameters():
        assert p.grad is not None, name
        assert p.grad.isfinite().all(), name
        assert p.grad.any(), name


@every_flow
def test_density_of_one_tensor_follows_the_weights(flow):
    """Pyro's transforms keep their last values, of whatever weights."""
    prior, z = FlowPrior(3, flow(3)).double(), torch.randn(5, 3).double().requires_grad_()
    for _ in range(2):
        prior().log_prob(z).sum().backward()
    before = prior().log_prob(z)
    scattered(prior)
    torch.testing.assert_close(prior().log_prob(z), prior().log_prob(z.clone()))
    assert torch.equal(prior().log_prob(z), before) is (not [*prior.parameters()])


@every_flow
def test_copies_are_whole_and_independent(flow):
    prior, z = FlowPrior(3, flow(3)), torch.randn(5, 3, requires_grad=True)
    expected = prior().log_prob(z)
    copied = copy.deepcopy(prior)
    assert not {*map(id, copied.parameters())} & {*map(id, prior.parameters())}
    torch.testing.assert_close(copied().log_prob(z), expected)
    scattered(copied).float()
    torch.testing.assert_close(prior().log_prob(z), expected)


@pytest.mark.parametrize("check", [*PRIOR_CHECKS, *PAIR_CHECKS], ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", ["coupling", "inverse", "zuko"])
def test_contract(check, name):
    check(lambda: testing.pair(prior=lambda size: FlowPrior(size, FLOWS[name](size))))


def test_a_base_of_its_own():
    mixture = GaussianMixture(2, components=3)
    prior, z = FlowPrior(2, tt.AffineTransform(torch.tensor([1.0, -1.0]), 2.0), base=mixture), torch.randn(5, 2)
    expected = mixture().log_prob((z - torch.tensor([1.0, -1.0])) / 2) - 2 * torch.tensor(2.0).log()
    torch.testing.assert_close(prior().log_prob(z), expected)
    assert {name.partition(".")[0] for name, _ in prior.named_parameters()} == {"base"}
    with pytest.raises(InputError, match="3 components, but only 2 training examples"):
        prior.initialize(torch.zeros(2, 1))


def test_an_affine_autoregressive_transform_of_pyro():
    """Its inverse is that of float32 alone."""
    prior, z = FlowPrior(3, pt.affine_autoregressive(3, [8])), torch.randn(5, 3)
    torch.testing.assert_close(FlowPrior(3, prior.transforms[0])().log_prob(z), prior().log_prob(z))
    noise = prior.transforms[0].inv(z)
    determinant = torch.stack([torch.linalg.slogdet(jacobian(prior.transforms[0], row)).logabsdet for row in noise])
    expected = StandardNormal(3)().log_prob(noise) - determinant
    torch.testing.assert_close(prior().log_prob(z), expected, rtol=1e-4, atol=1e-4)


def test_no_transforms_leave_the_base():
    z = torch.randn(5, 2)
    torch.testing.assert_close(FlowPrior(2, [])().log_prob(z), StandardNormal(2)().log_prob(z))


@pytest.mark.parametrize("name", ["coupling", "zuko"])
def test_it_is_fitted(name):
    data = Data.from_arrays(x_train=torch.rand(40, 5), x_valid=torch.rand(10, 5), x_test=torch.rand(10, 5))
    model = VAE(MLPDecoder(2, (5,), hidden=(8,)), FlowPrior(2, FLOWS[name](2)), Gaussian())
    guide = MeanField(model, MLPEncoder((5,), hidden=(8,)))
    run = fit(model, guide, data, epochs=2, lr=1e-2, progress=False, device="cpu")
    assert len(run.history) == 2
    assert model.sample(3).isfinite().all()


@pytest.mark.parametrize(
    ("transforms", "words"),
    [
        (lambda: pt.planar(3), "transforms Planar give no density of 3 latent dimensions .*have an inverse in closed"),
        (lambda: pt.neural_autoregressive(3), "transforms NeuralAutoregressive give no density"),
        (lambda: pt.spline(4), "give no density of 3 latent dimensions .*each must take vectors of this size"),
        (lambda: pt.affine_autoregressive(2), "AffineAutoregressive give no density of 3 latent"),
        (lambda: [pt.spline(3), DenseNN(3, [4])], "transforms holds a DenseNN: expected transforms of pyro"),
        (lambda: 3, "transforms holds a int: expected transforms of pyro"),
        (lambda: pt.ConditionalAffineCoupling(1, DenseNN(2, [4], [2, 2])), "ConditionalAffineCoupling"),
        (lambda: tt.ExpTransform(), "ExpTransform.*|support must be R"),
        (lambda: tt.SigmoidTransform(), "support interval.* but the support must be R"),
    ],
)
def test_what_is_refused(transforms, words):
    with pytest.raises(InputError, match=words):
        FlowPrior(3, transforms())


def test_flows_of_zuko_that_are_refused():
    zuko = pytest.importorskip("zuko")
    with pytest.raises(InputError, match="the flow NSF has a base distribution of its own: leave base out"):
        FlowPrior(2, zuko.flows.NSF(2), base=StandardNormal(2))
    with pytest.raises(InputError, match=r"event shape \(3,\), expected \(\) and \(2,\)"):
        FlowPrior(2, zuko.flows.NSF(3))
    with pytest.raises(InputError, match=r"the support interval.*, but the support must be R"):
        FlowPrior(2, zuko.flows.NCSF(2))
    with pytest.raises(InputError, match="transforms NSF give no density of 2 latent dimensions"):
        FlowPrior(2, zuko.flows.NSF(2, context=3))
