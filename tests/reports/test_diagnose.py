"""The diagnosis: its figures, its flags, and a page that stands by itself."""

import functools
import html
import importlib
import json
import re
import shutil
import subprocess

import pytest
import torch

import pyro_vaes as pv
from pyro_vaes.data import Data
from pyro_vaes.errors import InputError
from pyro_vaes.recipes import Settings, build_seeded, vae
from pyro_vaes.reports.compare import compare
from pyro_vaes.reports.compare_report import columns
from pyro_vaes.reports.diagnose import FIGURES, PAGE, diagnose
from pyro_vaes.reports.diagnosis import NamedPair
from pyro_vaes.reports.diagnosis_page import COLUMNS, IMAGE, MORE, REFERENCE
from tests.helpers.arrays import images

SMALL = Settings(latent_dim=2, hidden=(8,), epochs=2, batch_size=32)
FAST = {"images": 5, "num_samples": 60, "num_steps": 5, "progress": False}
GUIDES = ["mean-field", "recursive-mixture(components=2)", "inverse-autoregressive-flow(hidden=(8,))"]


DATA = Data.from_arrays(x_train=images(60, 4, 4), x_test=images(12, 4, 4), name="tiny <data>")


def pair(guide="mean-field", name=None, **options):
    system = build_seeded(vae, DATA.event_shape, Settings(**{**vars(SMALL), "guide": guide}), seed=0)
    return NamedPair(name or guide, system.model, system.guide, **options)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    out = tmp_path_factory.mktemp("diagnosis")
    torch.manual_seed(0)
    pairs = [pair(guide) for guide in GUIDES]
    pairs[1] = pair(GUIDES[1], history=[{"step_ms": 2.5}], note="training was <interrupted>")
    diagnoses = diagnose(pairs, DATA, out, **FAST)
    return json.loads((out / FIGURES).read_text()), (out / PAGE).read_text(), diagnoses


def test_the_figures_add_up(report):
    figures, _, diagnoses = report
    assert [row["name"] for row in figures["guides"]] == GUIDES
    for row, diagnosis in zip(figures["guides"], diagnoses, strict=True):
        gap = row["log_likelihood"]["mean"] - row["elbo"]["mean"]
        assert row["gap"]["mean"] == pytest.approx(gap)
        assert row["approximation_gap"]["mean"] + row["amortization_gap"]["mean"] == pytest.approx(gap)
        gaps = [image["gap"] for image in row["worst"]]
        assert gaps == sorted(gaps, reverse=True)
        assert gaps[0] == pytest.approx(diagnosis.gaps.gap.max().item())
        assert 0 <= row["calibration"]["coverage"]["50%"] <= 1
        assert row["reference"] is None
    assert [row["step_ms"] for row in figures["guides"]] == [None, 2.5, None]


def test_every_figure_of_the_page_is_one_of_the_json(report):
    figures, page, _ = report
    cells = [html.unescape(re.sub("<[^>]*>", "", cell)) for cell in re.findall("<td>(.*?)</td>", page)]
    expected = []
    for shown in (COLUMNS, MORE):
        for row in figures["guides"]:
            expected += [row["name"], *(show(row) for show in shown.values())]
    for row in figures["guides"]:
        for image in row["worst"]:
            expected += [str(image["image"]), *(show(image) for show in IMAGE.values())]
    assert cells == expected


def test_every_picture_has_a_caption(report):
    _, page, _ = report
    assert page.count("<figcaption>") == page.count("<img") == 4 + len(GUIDES)
    assert not re.search(r"<figcaption>\s*</figcaption>", page)


def test_the_page_stands_alone(report):
    _, page, _ = report
    assert "<script" not in page
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "http" not in re.sub(r"data:image/png;base64,[^\"]*", "", page)
    assert page.count("data:image/png;base64,") == 4 + len(GUIDES)
    assert "tiny &lt;data&gt;" in page
    assert "training was &lt;interrupted&gt;" in page


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs the browser chromium")
def test_the_page_renders_in_a_browser(report, tmp_path):
    (tmp_path / PAGE).write_text(report[1])
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--log-level=0", "--dump-dom"]
    flags.append("--host-resolver-rules=MAP * ~NOTFOUND")
    done = subprocess.run(["chromium", *flags, f"file://{tmp_path / PAGE}"], capture_output=True, text=True, check=True)
    assert done.stdout.count("<img") == 4 + len(GUIDES)
    assert "CONSOLE" not in done.stderr
    assert "net::ERR" not in done.stderr


def test_log_likelihoods_that_cannot_be_trusted_are_flagged_wherever_they_are_leant_on():
    row = {name: {"mean": 1.0, "stderr": 0.1} for name in ("log_likelihood", "elbo", "gap", "approximation_gap")}
    row |= {"amortization_gap": {"mean": 1.0, "stderr": 0.1}}
    for unreliable, flags in ((0.34, 3), (0.0, 0)):
        shown = [show({**row, "unreliable": unreliable, "guide_unreliable": 0.9}) for show in COLUMNS.values()]
        assert sum("⚠ 34.0 %" in text for text in shown) == flags
        assert shown[-1] == "90.0 %"  # a diagnostic of the guide, no flag
    image = dict.fromkeys(("log_likelihood", "elbo", "gap", "approximation_gap", "amortization_gap"), 1.0)
    for k, flags in ((0.71, 3), (0.69, 0), (None, 3)):
        shown = [show({**image, "pareto_k": k, "guide_pareto_k": 0.9}) for show in IMAGE.values()]
        assert sum("⚠" in text for text in shown) == flags
        assert shown[-1] == "0.90"


def test_columns_stand_in_the_order_of_all_reports():
    order = ["log p(x)", "ELBO", "gap", "approximation gap", "amortization gap"]
    assert list(COLUMNS) == [*order, "guide's k-hat > 0.7"]
    assert list(IMAGE) == [*order, "guide's k-hat"]
    assert list(columns(frozen=False))[:7] == ["guide", *COLUMNS]


@pytest.mark.slow
def test_nuts_ranks_guides_as_the_gaps_do(tmp_path):
    """On trained digits models: R-hat below 1.01, and the guide with the smaller gap is the nearer to the posterior."""
    data, pairs = pv.data.load("digits"), []
    settings = Settings(epochs=20)
    for guide in ("mean-field", "laplace"):
        system = build_seeded(vae, data.event_shape, Settings(**{**vars(settings), "guide": guide}), seed=0)
        pv.fit(system.model, system.guide, data, system.loss, epochs=settings.epochs, progress=False)
        pairs.append(NamedPair(guide, system.model, system.guide))
    diagnose(pairs, data, tmp_path, images=50, num_steps=150, reference=4, progress=False)
    rows, page = json.loads((tmp_path / FIGURES).read_text())["guides"], (tmp_path / PAGE).read_text()
    assert max(row["reference"]["r_hat"] for row in rows) < 1.01
    shown = [show(row) for row in rows for show in REFERENCE.values()]
    assert all(f"<td>{text}</td>" in page for text in shown)
    gaps, distances = ([row["gap"]["mean"] for row in rows], [row["reference"]["distance"] for row in rows])
    assert (gaps[0] > gaps[1]) == (distances[0] > distances[1]), f"gaps {gaps}, distances {distances}"


def test_a_reference_of_too_few_draws_leaves_its_distance_empty(tmp_path, monkeypatch):
    module = importlib.import_module("pyro_vaes.reports.diagnose")
    short = functools.partial(module.reference_posterior, num_samples=4, warmup_steps=4)
    monkeypatch.setattr(module, "reference_posterior", short)
    diagnose([pair()], DATA, tmp_path, **FAST, reference=1)
    (row,) = json.loads((tmp_path / FIGURES).read_text(), parse_constant=pytest.fail)["guides"]
    assert row["reference"]["distance"] is row["reference"]["null"] is None
    assert "<td>mean-field</td><td></td><td></td><td>" in (tmp_path / PAGE).read_text()


def test_the_random_state_stays(tmp_path):
    before = torch.get_rng_state()
    diagnose([pair()], DATA, tmp_path, **FAST)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_comparison_ends_with_it(tmp_path):
    quiet = {"num_samples": 30, "progress": False}
    compare(DATA, GUIDES[:2], SMALL, [0, 3], tmp_path, images=3, **quiet)
    assert [row["name"] for row in json.loads((tmp_path / FIGURES).read_text())["guides"]] == GUIDES[:2]


FEW = Data.from_arrays(x_train=images(60, 4, 4), x_test=images(2, 4, 4), name="few")


def test_by_default_it_takes_the_images_that_there_are(tmp_path):
    diagnose([pair()], FEW, tmp_path, num_samples=60, num_steps=5, progress=False)
    assert json.loads((tmp_path / FIGURES).read_text())["images"] == len(FEW.test) == 2
    diagnose([pair()], DATA, tmp_path, num_samples=60, num_steps=5, progress=False)
    assert json.loads((tmp_path / FIGURES).read_text())["images"] == len(DATA.test) == 12


def test_a_comparison_diagnoses_the_images_that_there_are(tmp_path, capsys):
    compare(FEW, GUIDES[:1], SMALL, [0], tmp_path / "few", num_samples=60, progress=False)
    assert json.loads((tmp_path / "few" / FIGURES).read_text())["images"] == 2
    compare(FEW, GUIDES[:1], SMALL, [0], tmp_path / "one", num_samples=60, images=1, progress=False)
    assert "no diagnosis: images is 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("names", "options", "words"),
    [
        ([], {}, "pairs are none"),
        (["a", "a"], {}, "a name of its own"),
        (["a"], {"images": 13}, "images is 13.*expected 2 to 12"),
        (["a"], {"reference": 6}, "no more references than images"),
        (["a"], {"reference": -1}, "reference is -1"),
    ],
)
def test_what_cannot_be_diagnosed_is_refused(tmp_path, names, options, words):
    with pytest.raises(InputError, match=words):
        diagnose([pair(name=name) for name in names], DATA, tmp_path / "out", **{**FAST, **options})
    assert not (tmp_path / "out").exists()
