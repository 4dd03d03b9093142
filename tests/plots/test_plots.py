"""Pictures: what is drawn, not how it looks."""

import io

import numpy as np
import pytest
import torch

from pyro_vaes import plots
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate import MeanInterval, ReferenceComparison
from pyro_vaes.guides import MeanField
from pyro_vaes.plots.colors import colors
from pyro_vaes.plots.frontier import frontier
from tests.helpers.linear_gaussian import LinearGaussian


def drawn(figure):
    file = io.BytesIO()
    figure.savefig(file, dpi=40)
    return file.getvalue().startswith(b"\x89PNG")


def history(*elbos):
    return [{"epoch": epoch, "valid_elbo": elbo} for epoch, elbo in enumerate(elbos, 1)]


def test_learning_curves_have_a_line_a_run_and_a_name_a_guide():
    late = history(-900.0, *range(-30, -10))
    figure = plots.learning_curves({"a": [late, late], "b": [history(-12.0)]})
    (axes,) = figure.axes
    assert [list(line.get_ydata()) for line in axes.lines] == [[row["valid_elbo"] for row in late]] * 2 + [[-12.0]]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]
    assert axes.get_ylim()[0] > -100, "the first epoch hides the rest"
    assert drawn(figure)


@pytest.mark.parametrize(("channels", "shape"), [(1, (5, 4)), (3, (5, 4, 3))])
def test_image_grid_draws_every_image_in_its_row(channels, shape):
    rows = [torch.rand(3, channels, 5, 4) * 4 - 2, torch.rand(2, channels, 5, 4)]
    figure = plots.image_grid(rows, ["one", "two"])
    table = [[len(axes.images) for axes in figure.axes[start : start + 3]] for start in (0, 3)]
    assert table == [[1, 1, 1], [1, 1, 0]]
    assert [figure.axes[i].get_ylabel() for i in (0, 3)] == ["one", "two"]
    image = figure.axes[0].images[0].get_array()
    assert image.shape == shape
    assert (image.min(), image.max()) == (0, 1)  # clipped
    assert drawn(figure)


@pytest.mark.parametrize("shape", [(3, 7), (3, 2, 4, 4), (3, 4, 4)])
def test_what_are_no_images_is_refused(shape):
    with pytest.raises(InputError, match="cannot be drawn"):
        plots.image_grid([torch.rand(shape)])


def test_posteriors_draw_the_exact_one_on_top_of_the_true_one():
    linear = LinearGaussian(latent_dim=2, batch=3)
    exact = linear.exact_guide()
    figure = plots.posteriors({"exact": (linear.vae, exact)}, linear.x, points=61)
    assert len(figure.axes) == 3
    for axes, mean in zip(figure.axes, linear.mean, strict=True):
        truth, guess = axes.collections
        for level in (0, 1):  # the outer contour, then the inner
            corners = [contours.get_paths()[level].vertices for contours in (truth, guess)]
            for low in (True, False):
                one, other = (c[:].min(0) if low else c[:].max(0) for c in corners)
                assert abs(one - other).max() < 0.02 * (axes.get_xlim()[1] - axes.get_xlim()[0])
        middle = torch.as_tensor(guess.get_paths()[1].vertices).mean(0)
        assert (middle - mean).abs().max() < 0.1
    assert drawn(figure)


def test_the_true_posterior_looks_the_same_in_every_row_of_one_model():
    linear, other = LinearGaussian(latent_dim=2), LinearGaussian(latent_dim=2, scale=0.3)
    exact, wide = linear.exact_guide(), MeanField(linear.vae, linear.encoder).double()
    pairs = {"exact": (linear.vae, exact), "wide": (linear.vae, wide), "other": (other.vae, other.exact_guide())}
    rows = np.reshape(plots.posteriors(pairs, linear.x, points=41).axes, (3, -1))
    for first, second, third in rows.T:
        assert first.get_xlim() == second.get_xlim() != third.get_xlim()
        truths = [axes.collections[0].get_paths() for axes in (first, second)]
        for path, same in zip(*truths, strict=True):
            np.testing.assert_array_equal(path.vertices, same.vertices)


def test_the_frontier_of_gap_and_time():
    gaps = {"a": MeanInterval(2.0, 1.5, 2.5, 4, 5), "b": MeanInterval(1.0, 0.5, 1.5, 4, 5)}
    gaps["dominated"] = MeanInterval(1.5, 1.0, 2.0, 4, 5)
    figure = plots.gap_against_time(gaps, {"a": 0.5, "b": 4.0, "dominated": 5.0})
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(gaps)
    step = axes.lines[-1]
    assert (list(step.get_xdata()), list(step.get_ydata())) == ([0.5, 4.0], [2.0, 1.0])
    assert axes.get_xscale() == "log"


@pytest.mark.parametrize(
    ("points", "names"),
    [
        ({}, []),
        ({"a": (1, 1)}, ["a"]),
        ({"a": (1, 1), "b": (1, 0.5), "c": (2, 0.5)}, ["b"]),
        ({"slow": (9, 0), "middle": (3, 1), "fast": (1, 5), "worse": (4, 2)}, ["fast", "middle", "slow"]),
    ],
)
def test_points_on_a_frontier(points, names):
    assert frontier(points) == names


def test_a_guide_has_one_color_in_all_pictures_of_a_report():
    names = [f"guide {number}" for number in range(12)]
    assert len(set(colors(names).values())) == 12
    history = [{"epoch": 1, "valid_elbo": -2.0}, {"epoch": 2, "valid_elbo": -1.0}]
    curves = plots.learning_curves({name: [history] for name in names}).axes[0].lines
    points = plots.gap_against_time(
        {name: MeanInterval(1.0, 0.5, 1.5, 4, 5) for name in names}, dict.fromkeys(names, 1.0)
    )
    drawn = [container.lines[0].get_color() for container in points.axes[0].containers]
    assert [line.get_color() for line in curves] == drawn == list(colors(names).values())


def test_a_guide_keeps_its_color_whatever_it_is_compared_with():
    assert colors(["laplace"])["laplace"] == colors(["mean-field", "mine", "laplace"])["laplace"]
    assert colors(["laplace(updates=4)"])["laplace(updates=4)"] == colors(["laplace"])["laplace"]
    several = colors(["mine", "laplace", "laplace(updates=1)", "laplace(updates=4)", "mean-field"])
    assert len(set(several.values())) == 5


def test_legends_lie_beside_the_curves():
    history = [{"epoch": epoch, "valid_elbo": -1.0 / epoch} for epoch in range(1, 5)]
    gaps = {"laplace": MeanInterval(2.0, 1.5, 2.5, 4, 5)}
    for figure in (plots.learning_curves({"laplace": [history]}), plots.gap_against_time(gaps, {"laplace": 1.0})):
        figure.draw_without_rendering()
        (axes,) = figure.axes
        assert axes.get_legend().get_window_extent().x0 >= axes.get_window_extent().x1
        assert axes.get_legend().get_window_extent().x1 <= figure.bbox.x1


@pytest.mark.parametrize(("shape", "first"), [((3, 1, 4, 4), 3), ((3, 7), 0)])
def test_posterior_covariances_have_a_row_a_guide_below_the_images(shape, first):
    x, factor = torch.rand(shape), torch.randn(3, 2, 2)
    matrices = {"one": factor @ factor.mT, "other": torch.eye(2).expand(3, 2, 2)}
    figure = plots.posterior_covariances(x, matrices)
    drawn_ones = [axes for axes in figure.axes if axes.images and not axes.get_label()]
    assert len(drawn_ones) == first + 6
    for row, (name, expected) in enumerate(matrices.items()):
        line = drawn_ones[first + 3 * row : first + 3 * row + 3]
        assert line[0].get_ylabel() == name
        for axes, matrix in zip(line, expected, strict=True):
            np.testing.assert_array_equal(axes.images[0].get_array(), matrix)
            assert axes.images[0].get_clim() == (-float(expected.max()), float(expected.max()))
    assert drawn(figure)
    with pytest.raises(InputError, match=r"covariances of one have shape \(2, 2, 2\): expected \(3, Z, Z\)"):
        plots.posterior_covariances(x, {"one": factor[:2]})


def test_posteriors_need_two_dimensions():
    linear = LinearGaussian(latent_dim=3)
    with pytest.raises(InputError, match=r"3 dimensions: contours need 2 \(--latent-dim 2\)"):
        plots.posteriors({"a": (linear.vae, MeanField(linear.vae, linear.encoder).double())}, linear.x)


@pytest.mark.parametrize("size", [1, 3])
def test_reference_posteriors_have_a_row_a_datum(size):
    draws = torch.randn(200, 2, size)
    figure = plots.reference_posteriors(ReferenceComparison(draws, draws + 1, torch.zeros(2), torch.zeros(2)))
    assert len(figure.axes) == 6
    assert [len(axes.lines) for axes in figure.axes][::3] == [2, 2]
    drawn(figure)


def decode(*z):
    """Pictures of 2 x 3 pixels whose channels are the first three dimensions of all levels."""
    flat = torch.cat(z, -1)[:, :3]
    return flat[:, :, None, None].expand(-1, -1, 2, 3)


def tiles(axes):
    """The corner pixel of each 2 x 3 tile of a picture, ``(rows, columns, 3)``."""
    return torch.as_tensor(axes.images[0].get_array())[::2, ::3]


def test_traversals_move_one_level_over_its_quantiles_and_fix_the_others():
    fixed = [torch.tensor([0.25]), torch.tensor([0.5, 0.75])]
    draws = [torch.linspace(0, 1, 101)[:, None], torch.linspace(0, 1, 101)[:, None] * torch.tensor([1.0, 0.5])]
    figure = plots.traversals(decode, fixed, draws, points=4)
    shares = torch.tensor([0.125, 0.375, 0.625, 0.875])
    line, square = map(tiles, figure.axes)
    assert torch.allclose(line, torch.stack([shares, torch.tensor(0.5).expand(4), torch.tensor(0.75).expand(4)], -1))
    assert torch.allclose(square[..., 0], torch.tensor(0.25).expand(4, 4))
    assert torch.allclose(square[..., 1], shares.expand(4, 4))  # from left to right
    assert torch.allclose(square[..., 2], shares.flip(0)[:, None].expand(4, 4) / 2)  # from bottom to top
    assert [axes.get_title() for axes in figure.axes] == ["z1", "z2"]
    assert drawn(figure)


def test_traversals_take_the_dimensions_that_change_the_picture_most():
    weight = torch.tensor([0.1, 2.0, 0.0, -1.0, 0.5])

    def weighted(z):
        return (z * weight).sum(-1)[:, None, None, None].expand(-1, 1, 4, 4)

    figure = plots.traversals(weighted, [torch.zeros(5).double()], [torch.rand(500, 5).double()], points=3)
    (axes,) = figure.axes
    assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == ("z", "dimension 1", "dimension 3")
    assert axes.images[0].get_array().shape == (12, 12)


def test_traversals_and_clusters_of_a_model():
    linear = LinearGaussian(latent_dim=3, event_shape=(1, 4, 4))
    draws = linear.vae.prior().sample((50,))
    assert drawn(plots.traversals(linear.vae.decode, [draws[0]], [draws]))
    assert drawn(plots.clusters(linear.vae.decode, [draws[:5]], 0, draws[:10].view(2, 5, 3)))


def test_clusters_have_a_row_each_and_share_the_other_levels_by_column():
    latents = [torch.rand(5, 1), torch.full((5, 1), torch.nan), torch.rand(5, 1)]
    draws = torch.rand(4, 5, 1)
    figure = plots.clusters(decode, latents, 1, draws, ["a", "b", "c", "d"])
    table = tiles(figure.axes[0])
    for channel in (0, 2):
        assert torch.equal(table[..., channel], latents[channel].T.expand(4, 5))
    assert torch.equal(table[..., 1], draws[..., 0])
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["a", "b", "c", "d"]
    assert drawn(figure)


def test_levels_that_do_not_fit_are_refused():
    two = [torch.zeros(2), torch.zeros(3)]
    with pytest.raises(InputError, match=r"levels have the sizes \[2, 3\] in fixed and \[2\] in draws"):
        plots.traversals(decode, two, [torch.zeros(5, 2)])
    with pytest.raises(InputError, match="level is 2: expected 0 to 1"):
        plots.clusters(decode, two, 2, torch.zeros(4, 5, 2))
