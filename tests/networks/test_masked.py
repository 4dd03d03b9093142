"""Masked layers and MADE: what each output sees, by gradients."""

import pytest
import torch
from torch.autograd.functional import jacobian

from pyro_vaes.distributions.autoregressive_transform import AutoregressiveTransform, affine, gated, shifted
from pyro_vaes.errors import InputError
from pyro_vaes.networks import MADE, MaskedConv2d


def seen_by(conv, row, column, size=7):
    """Rows and columns of the input that the output at one pixel depends on."""
    x = torch.randn(1, 2, size, size, dtype=torch.float64, requires_grad=True)
    conv.double()(x)[0, :, row, column].sum().backward()
    return {tuple(place) for place in x.grad[0].any(0).nonzero().tolist()}


@pytest.mark.parametrize(
    ("rows", "columns"),
    [((-2, -1), (-1, 2)), ((-2, 0), (-3, 1)), ((0, 0), (-3, -1)), ((0, 0), (-2, 0)), ((-1, -1), (0, 0))],
)
@pytest.mark.parametrize("place", [(0, 0), (3, 3), (6, 6), (1, 5)])
def test_convolution_sees_its_rectangle(rows, columns, place):
    wanted = {
        (r, c)
        for r in range(place[0] + rows[0], place[0] + rows[1] + 1)
        for c in range(place[1] + columns[0], place[1] + columns[1] + 1)
        if 0 <= r < 7 and 0 <= c < 7
    }
    assert seen_by(MaskedConv2d(2, 3, rows, columns), *place) == wanted


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("size", "hidden"), [(1, (4,)), (2, (3,)), (5, (32,)), (5, (40, 40)), (6, (2,))])
def test_made_sees_the_coordinates_before_alone(size, hidden, reverse):
    made = MADE(size, hidden, outputs=2, context=3, reverse=reverse).double()
    context, z = torch.randn(3, dtype=torch.float64), torch.randn(size, dtype=torch.float64)
    found = jacobian(lambda value: made(value, made.context(context)), z).ne(0).any(0)
    before = torch.ones(size, size, dtype=torch.bool).tril(-1)
    before = before.flip(0, 1) if reverse else before
    assert not (found & ~before).any()
    if hidden[0] >= 6 * size:
        assert torch.equal(found, before)
    assert jacobian(lambda value: made(z, made.context(value)), context).ne(0).any(-1).all()


@pytest.mark.parametrize(("rule", "outputs"), [(shifted, 1), (affine, 2), (gated, 2)])
@pytest.mark.parametrize("reverse", [False, True])
def test_step_inverts_and_knows_its_determinant(rule, outputs, reverse):
    step = AutoregressiveTransform(MADE(4, (16,), outputs, reverse=reverse).double(), rule)
    x = torch.randn(6, 4, dtype=torch.float64)
    y = step(x)
    fresh = AutoregressiveTransform(step.network, rule)
    torch.testing.assert_close(fresh.inv(y), x, rtol=0, atol=1e-10)
    whole = torch.stack([jacobian(fresh, row) for row in x])
    torch.testing.assert_close(step.log_abs_det_jacobian(x, y), torch.linalg.slogdet(whole).logabsdet)


def test_bad_sizes_are_refused():
    with pytest.raises(InputError, match="outputs is 0"):
        MADE(3, outputs=0)
