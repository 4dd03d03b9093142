"""The pixels that an autoregressive network may see, and those that it sees, by gradients."""

import itertools

import torch


def window_of(r, c, window, shape):
    """The pixels that the one at (r, c) may see."""
    left = -(-(window[0] - 1) // 2)
    above = {(r - i, c - left + j) for i in range(1, window[1] + 1) for j in range(window[0])}
    row = {(r, c - i) for i in range(1, left + 1)}
    return {(i, j) for i, j in above | row if 0 <= i < shape[1] and 0 <= j < shape[2]}


def seen_by(network, shape, maps):
    """The pixels that the hidden units at each pixel depend on."""
    x = torch.rand(1, *shape).double().requires_grad_()
    hidden = network.double()(x, torch.randn(1, maps, *shape[1:]).double())
    seen = {}
    for r, c in itertools.product(range(shape[1]), range(shape[2])):
        (slope,) = torch.autograd.grad(hidden[0, r, c].square().sum(), x, retain_graph=True)
        seen[r, c] = {tuple(place) for place in slope[0].abs().sum(0).nonzero().tolist()}
    return seen


def assert_window(network, window, shape, maps):
    for (r, c), seen in seen_by(network, shape, maps).items():
        assert seen == window_of(r, c, window, shape), (r, c)
