"""The curvature of a log density."""

import torch

from pyro_vaes.evaluate.marginal.curvature import curvature


def test_curvature_is_the_absolute_hessian():
    def log_density(z):
        return z[..., 0] * z[..., 1] - z[..., 0].square()

    found = curvature(log_density, torch.randn(3, 4, 2).double())
    hessian = torch.tensor([[-2.0, 1.0], [1.0, 0.0]]).double()
    values, vectors = torch.linalg.eigh(hessian)
    torch.testing.assert_close(found, (vectors * values.abs() @ vectors.T).expand(3, 4, 2, 2), rtol=0, atol=1e-6)
