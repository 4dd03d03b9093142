"""Pictures: what is drawn, not how it looks."""

import io

import pytest
import torch
from linear_gaussian import LinearGaussian

from pyro_vaes import plots
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate import ReferenceComparison
from pyro_vaes.guides import Laplace, MeanField


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
    exact = Laplace(linear.vae, linear.encoder, updates=1, step_size=1.0).double()
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
