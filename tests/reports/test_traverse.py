"""The look at the levels: its figures, its pictures, and what it leaves out."""

import json
import sys

import numpy as np
import pyro
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.image import imread

import pyro_vaes as pv
from pyro_vaes import plots
from pyro_vaes.data import FACTORS, Data
from pyro_vaes.errors import InputError
from pyro_vaes.evaluate import clustering, factor_probes
from pyro_vaes.guides import Laplace, MeanField
from pyro_vaes.likelihoods import Bernoulli, Gaussian, PixelCNN
from pyro_vaes.models import (
    ConditionalNormal,
    HierarchicalGuide,
    HierarchicalVAE,
    LadderGuide,
    LadderMixtureGuide,
    LadderMixtureVAE,
    LadderVAE,
    MixtureGuide,
    MixtureVAE,
    TopDownGuide,
)
from pyro_vaes.networks import MLPDecoder, MLPEncoder
from pyro_vaes.networks.ladder import LadderMLPDecoder, LadderMLPEncoder
from pyro_vaes.priors import GaussianMixture, StandardNormal
from pyro_vaes.reports.traverse import FIGURES, PAGE, SCORES, TRAVERSALS, traverse

SHAPE, HIDDEN = (3, 8, 8), ((16,), (16,))
DIGITS = pv.data.load("coloured-digits", train_size=300)


def plain(shape=SHAPE, prior=StandardNormal, guide=MeanField, likelihood=Gaussian):
    model = pv.VAE(MLPDecoder(2, shape, (16,)), prior(2), likelihood())
    return model, guide(model, MLPEncoder(shape, (16,)))


def mixture():
    model = MixtureVAE(MLPDecoder(2, SHAPE, (16,)), GaussianMixture(2, 25), Gaussian())
    return model, MixtureGuide(model, MLPEncoder(SHAPE, (16,)))


def ladder():
    model = LadderVAE(LadderMLPDecoder((2, 1), SHAPE, HIDDEN), [StandardNormal(2), StandardNormal(1)], Gaussian())
    return model, LadderGuide(model, LadderMLPEncoder(SHAPE, HIDDEN))


def ladder_mixture(cluster_sites=("y2",)):
    priors = [GaussianMixture(2, 4), GaussianMixture(3, 5)]
    model = LadderMixtureVAE(LadderMLPDecoder((2, 3), SHAPE, HIDDEN), priors, Gaussian(), cluster_sites)
    return model, LadderMixtureGuide(model, LadderMLPEncoder(SHAPE, HIDDEN))


def hierarchy(guide=TopDownGuide, prior=StandardNormal):
    conditionals = [ConditionalNormal(MLPEncoder((above,), (16,)), below) for below, above in ((2, 3), (3, 2))]
    model = HierarchicalVAE(MLPDecoder(2, SHAPE, (16,)), prior(2), conditionals, Gaussian())
    if guide is TopDownGuide:
        return model, TopDownGuide(model, LadderMLPEncoder(SHAPE, (*HIDDEN, (16,))))
    return model, HierarchicalGuide(model, [MLPEncoder(shape, (16,)) for shape in (SHAPE, (2,), (3,))])


PAIRS = {
    "plain": (plain, ["z"], []),
    "laplace": (lambda: plain(guide=Laplace), ["z"], []),
    "mixture": (mixture, ["z"], ["clusters-z.png"]),
    "ladder": (ladder, ["z1", "z2"], []),
    "ladder-mixture": (ladder_mixture, ["z1", "z2"], ["clusters-z1.png", "clusters-z2.png"]),
    "top-down": (hierarchy, ["z1", "z2", "z3"], []),
    "bottom-up": (lambda: hierarchy(HierarchicalGuide, GaussianMixture), ["z1", "z2", "z3"], ["clusters-z3.png"]),
}


def look(pair, out, data=DIGITS, **options):
    files = traverse(*pair, data, out, **{"points": 3, "progress": False, **options})
    return {path.name: path for path in files}, json.loads((out / FIGURES).read_text()), (out / PAGE).read_text()


def tables(page):
    """The cells of each table of the page, the header first."""
    blocks = [block.splitlines() for block in page.split("\n\n") if block.startswith("|")]
    return [[line.strip("| ").split(" | ") for line in block if "---" not in line] for block in blocks]


@pytest.mark.parametrize(("make", "names", "pictures"), PAIRS.values(), ids=PAIRS)
def test_any_pair(make, names, pictures, tmp_path):
    pair = make()
    state = torch.get_rng_state()
    files, report, page = look(pair, tmp_path / "new" / "folder")
    assert torch.equal(torch.get_rng_state(), state)
    assert list(pyro.get_param_store()) == []
    assert list(files) == [TRAVERSALS, *pictures, FIGURES, PAGE]
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == sorted(files)
    for name in (TRAVERSALS, *pictures):
        assert imread(files[name]).std() > 0.01, f"nothing is in {name}"
        assert f"]({name})" in page
    assert [(row["level"], row["factor"]) for row in report["levels"]] == [(z, f) for z in names for f in FACTORS]
    clustered = [name.removeprefix("clusters-").removesuffix(".png") for name in pictures]
    if not pair[1].clusters(DIGITS.test.x[:1]):
        clustered = []
    assert [(row["level"], row["factor"]) for row in report["clusters"]] == [(z, f) for z in clustered for f in FACTORS]
    assert report["left_out"] == (["Clusters are not scored: HierarchicalGuide gives none in clusters(x)."]) * (
        bool(pictures) and not clustered
    )


@pytest.fixture(scope="module")
def looked(tmp_path_factory):
    torch.manual_seed(0)
    pair = ladder_mixture()
    return pair, *look(pair, tmp_path_factory.mktemp("ladder"))


def test_the_figures_are_those_of_evaluate(looked):
    (model, guide), _, report, _ = looked
    assert report["levels"] == factor_probes(model, guide, DIGITS, FACTORS).rows
    assigned = [guide.clusters(split.x)["y2"].argmax(1) for split in (DIGITS.train, DIGITS.test)]  # exact for a site
    rows = [row for row in report["clusters"] if row["level"] == "z2"]
    for column, row in enumerate(rows):
        scores = clustering(DIGITS.train.y[:, column], assigned[0], DIGITS.test.y[:, column], assigned[1])
        assert row == {"level": "z2", "clusters": 5, "factor": FACTORS[column], **vars(scores)}


def test_every_figure_of_the_page_is_one_of_the_json(looked):
    _, _, report, page = looked
    accuracy, information, clusters = tables(page)
    rows = {(row["level"], row["factor"]): row for row in report["levels"]}
    for table, name, bound, form in (
        (accuracy, "accuracy", "chance", ".1%"),
        (information, "information", "entropy", ".2f"),
    ):
        assert table[0] == ["level", *FACTORS]
        assert [line[0] for line in table[1:]] == ["z1", "z2", bound]
        for level, *cells in table[1:-1]:
            expected = [rows[level, factor] for factor in FACTORS]
            assert cells == [f"{row[name]:{form}} ± {row[name + '_stderr']:{form}}" for row in expected]
        assert table[-1][1:] == [f"{rows['z1', factor][bound]:{form}}" for factor in FACTORS]
    assert clusters[0] == ["level", "clusters", "factor", *SCORES]
    assert clusters[1:] == [
        [row["level"], str(row["clusters"]), row["factor"], *(f"{row[score]:.3f}" for score in SCORES)]
        for row in report["clusters"]
    ]


def test_a_seed_fixes_the_files(looked, tmp_path):
    pair, files, _, _ = looked
    again, other = look(pair, tmp_path / "a")[0], look(pair, tmp_path / "b", seed=1)[0]
    assert all(files[name].read_bytes() == again[name].read_bytes() for name in files)
    assert files[TRAVERSALS].read_bytes() != other[TRAVERSALS].read_bytes()


def test_a_moved_level_takes_those_below_it_along():
    model, _ = hierarchy()
    z = [z[0] for z in model.sample_latents(1)]
    other = [torch.full_like(each, torch.nan) for each in z]
    means = model.conditionals[0](model.conditionals[1](z[2]).mean).mean
    torch.testing.assert_close(model.decode_from("z3", *other[:2], z[2]), model.decode(means, *z[1:]))
    torch.testing.assert_close(
        model.decode_from("z2", other[0], z[1], other[2]), model.decode(model.conditionals[0](z[1]).mean, *other[1:])
    )
    assert torch.equal(model.decode_from("z1", *z), model.decode(*z))
    assert not torch.equal(model.decode_from("z3", *z), model.decode_from("z3", *z[:2], z[2] + 1))
    stepped, _ = ladder()
    z = stepped.sample_latents(4)
    assert [each.shape for each in z] == [(4, 2), (4, 1)]
    assert all(torch.equal(stepped.decode_from(site, *z), stepped.decode(*z)) for site in stepped.sites)


def test_the_upper_levels_of_a_stack_move_the_picture(tmp_path, monkeypatch):
    drawn = []
    module = sys.modules["pyro_vaes.plots.traversals"]  # the package's attribute of that name is the function
    original = module.traversals
    monkeypatch.setattr(module, "traversals", lambda *args: drawn.append(original(*args)) or drawn[0])
    torch.manual_seed(1)
    look(hierarchy(), tmp_path)
    for axes in drawn[0].axes:
        picture = torch.as_tensor(axes.images[0].get_array())  # of 3 x 3 tiles
        tiles = picture.unfold(0, 8, 8).unfold(1, 8, 8).flatten(0, 1)
        assert len(tiles.flatten(1).unique(dim=0)) == 9, f"{axes.get_title()} does not move the picture"


def test_a_traversal_takes_one_decoder_or_one_for_each_level():
    with pytest.raises(InputError, match="decode holds 1 functions for 2 levels: give one for each, or one"):
        plots.traversals([torch.cat], [torch.zeros(2)] * 2, [torch.zeros(5, 2)] * 2)


def test_clusters_are_ordered_by_weight_and_the_most_of_them_shown(tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(plots, "clusters", lambda *args: seen.update(args=args) or Figure())
    model, guide = mixture()
    with torch.no_grad():
        model.prior.logits.copy_(torch.arange(25) / 5)
        model.prior.log_scales.fill_(-20)
    look((model, guide), tmp_path)
    _, latents, level, draws, names = seen["args"]
    weights = model.prior.logits.softmax(0)
    assert names == [f"{y}: {weights[y]:.1%}" for y in range(24, 4, -1)]
    assert (level, latents[0].shape, draws.shape) == (0, (10, 2), (20, 10, 2))
    torch.testing.assert_close(draws, model.prior.locs[range(24, 4, -1), None].expand(-1, 10, -1))


def test_names_of_clusters_are_not_cut_off(tmp_path):
    files, _, _ = look(mixture(), tmp_path)
    assert imread(files["clusters-z.png"])[:, :4, :3].min() == 1, "something touches the left edge"


def test_a_likelihood_that_draws_its_pictures_and_dynamic_binarisation(tmp_path):
    data = pv.data.load("digits", binarize="dynamic", train_size=200)
    pair = plain(data.event_shape, likelihood=lambda: PixelCNN(data.event_shape, features=1, layers=1, channels=4))
    files, report, _ = look(pair, tmp_path / "pixelcnn", data, points=2)
    assert TRAVERSALS in files
    assert {row["factor"] for row in report["levels"]} == {"label"}
    # Codes of thresholded images: with and without the noise of binarization they are told the same of.
    model, guide = plain(data.event_shape, likelihood=Bernoulli)
    plainly = pv.data.load("digits", binarize="threshold", train_size=200)
    reports = [look((model, guide), tmp_path / name, each)[1] for name, each in (("a", data), ("b", plainly))]
    assert reports[0]["levels"] == reports[1]["levels"]


def test_float64(tmp_path):
    model, guide = ladder_mixture(cluster_sites=())
    assert len(look((model.double(), guide.double()), tmp_path)[1]["clusters"]) == 8


def arrays(shape, y=None):
    x = np.random.default_rng(0).random((40, *shape), dtype=np.float32)
    return Data.from_arrays(x_train=x[:30], x_test=x[30:], y_train=y, y_test=None if y is None else y[:10])


def test_what_is_left_out_is_said(tmp_path):
    y = np.arange(30) % 2
    files, report, page = look(plain((6,)), tmp_path / "vectors", arrays((6,), y))
    assert list(files) == [FIGURES, PAGE]
    assert len(report["levels"]) == 1
    assert "There are no pictures: data of shape (6,) are no images" in page
    assert "![" not in page

    files, report, page = look(plain(), tmp_path / "unlabelled", arrays(SHAPE))
    assert list(files) == [TRAVERSALS, FIGURES, PAGE]
    assert report["levels"] == report["clusters"] == tables(page) == []
    assert "There are no tables: these take labels of both the training and the test split." in page


def test_names_of_factors(tmp_path):
    def names(y, **options):
        report = look(plain((6,)), tmp_path, arrays((6,), y), **options)[1]
        return [row["factor"] for row in report["levels"]]

    one, two = np.arange(30) % 2, np.stack([np.arange(30) % 2] * 2, 1)
    assert names(one) == names(one[:, None]) == ["label"]
    assert names(two) == ["y1", "y2"]
    assert names(two, factors=["a", "b"]) == ["a", "b"]


def test_bad_input_is_refused_before_anything_is_written(tmp_path):
    def message(pair=None, data=DIGITS, **options):
        with pytest.raises(InputError) as caught:
            traverse(*(pair or plain()), data, tmp_path / "out", **options)
        assert not (tmp_path / "out").exists()
        return str(caught.value)

    assert message(points=1) == "points is 1: expected a whole number, 2 or more"
    assert "seed is -1" in message(seed=-1)
    assert "factors is ['digit'], but training and test split have 4 columns" in message(factors=["digit"])
    assert "have 0 columns of labels" in message(data=arrays(SHAPE), factors=["digit"])
    neither = message(plain((6,)), arrays((6,)))
    assert "data of shape (6,) without labels give neither pictures nor tables" in neither
