"""Log p(x) by quadrature, and the comparison of an estimate with it."""

import math

import torch

EXACT = 1e-6  # nats
TOLERANCE = 0.05  # nats, the default of the marginal log-likelihood
COUNTS = torch.tensor([[0.0, 0.0, 0.0], [3.0, 0.0, 7.0], [0.0, 25.0, 1.0]]).double()


def quadrature(model, x, reach=12.0, points=4001, chunk=500):
    """Log p(x) of a model of one latent dimension by the trapezoidal rule."""
    grid = torch.linspace(-reach, reach, points).to(next(model.parameters()))
    parts = [model.log_joint(x, z.view(-1, 1, 1).expand(-1, len(x), 1)) for z in grid.split(chunk)]
    return torch.cat(parts).detach().double().logsumexp(0) + math.log(2 * reach / (points - 1))


@torch.no_grad()
def grid_log_likelihood(vae, x, reach=6.0, points=601):
    """Log p(x) of a model of two latent dimensions, on a grid."""
    axis = torch.linspace(-reach, reach, points)
    grid = torch.cartesian_prod(axis, axis)
    parts = [vae.log_joint(x, z.unsqueeze(1).expand(-1, len(x), 2)).double() for z in grid.split(5000)]
    return torch.cat(parts).logsumexp(0) + 2 * math.log(2 * reach / (points - 1))


def assert_equals(result, expected, errors=4.0, largest=1.2 * TOLERANCE):
    """Within standard errors, which are small."""
    assert result.per_datum_stderr.max() < largest, "the test says nothing"
    assert result.unreliable == 0
    difference = result.per_datum - expected.detach()
    assert (difference.abs() <= errors * result.per_datum_stderr + 1e-4).all(), difference
