"""Two stages and a choice among guides: what is trained, what is kept, how it goes on."""

import dataclasses
import json
import shutil

import pytest
import torch
import yaml

from pyro_vaes import InputError, load_run
from pyro_vaes.recipes import RECIPES, Settings, build_seeded, load_data
from pyro_vaes.training import stages
from pyro_vaes.training.fit import fit
from pyro_vaes.training.run import Run
from pyro_vaes.training.stages import CANDIDATES, START, fit_recipe
from tests.helpers.training import DATA, assert_equal, timeless, weights

RME = RECIPES["recursive-mixture"]
GUIDES = ["recursive-mixture(components=2)", "mixture(components=2)", "boosted-mixture(components=2)", "mean-field"]
FOLDERS = [stages.slug(guide) for guide in GUIDES]
SETTINGS = Settings(
    guide=", ".join(GUIDES), latent_dim=2, hidden=(8,), start_epochs=2, epochs=1, batch_size=32, lr=1e-2, device="cpu"
)


def by_hand(guide, **changes):
    """Both stages of one guide as separate calls of fit."""
    first = dataclasses.replace(SETTINGS, guide="mean-field", epochs=2)
    second = dataclasses.replace(SETTINGS, guide=guide, **changes)
    start = build_seeded(RME, DATA.event_shape, first, 0)
    fit(*start[:2], DATA, start.loss, **first.training, progress=False)
    system = build_seeded(RME, DATA.event_shape, second, 0)
    run = fit(*system[:2], DATA, system.loss, **second.training, start=start.guide, progress=False)
    return system, run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("stages") / "run"
    return fit_recipe(RME, DATA, SETTINGS, out, config={"note": "kept"}), out


def test_the_run_is_that_of_the_best_validation_elbo(trained):
    (system, run), out = trained
    elbos = json.loads((out / CANDIDATES).read_text())
    assert list(elbos) == GUIDES
    assert run.path == out
    for guide, folder in zip(GUIDES, FOLDERS, strict=True):
        rows = [json.loads(line) for line in (out / folder / "metrics.jsonl").read_text().splitlines()]
        assert max(row["valid_elbo"] for row in rows) == elbos[guide]
    best = max(elbos, key=elbos.get)
    assert run.best["valid_elbo"] == elbos[best]
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert (config["guide"], config["recipe"], config["note"], config["out"]) == (best, RME.name, "kept", str(out))
    assert type(system.guide).__name__.lower() == best.partition("(")[0].replace("-", "")


def test_each_guide_is_trained_as_by_hand(trained):
    (system, run), out = trained
    best = yaml.safe_load((out / "config.yaml").read_text())["guide"]
    expected, other = by_hand(best)
    assert_equal(weights(system[:2]), weights(expected[:2]))
    assert timeless(run.history) == timeless(other.history)


def test_one_guide_is_trained_in_the_run_s_own_folder(tmp_path):
    settings = dataclasses.replace(SETTINGS, guide=GUIDES[1])
    system, run = fit_recipe(RME, DATA, settings, tmp_path / "run")
    assert_equal(weights(system[:2]), weights(by_hand(GUIDES[1])[0][:2]))
    assert sorted(path.name for path in run.path.iterdir() if path.is_dir()) == [START]
    again, _ = fit_recipe(RME, DATA, settings, tmp_path / "run", resume=True)
    assert_equal(weights(again[:2]), weights(system[:2]))


def test_a_start_stands_for_the_first_stage(tmp_path):
    settings = dataclasses.replace(SETTINGS, guide=GUIDES[1])
    first = dataclasses.replace(settings, guide="mean-field", epochs=2)
    start = build_seeded(RME, DATA.event_shape, first, 0)
    fit(*start[:2], DATA, start.loss, **first.training, progress=False)
    system, run = fit_recipe(RME, DATA, settings, tmp_path / "run", start=start.guide)
    assert_equal(weights(system[:2]), weights(by_hand(GUIDES[1])[0][:2]))
    assert not (run.path / START).exists()


def test_an_interrupted_training_goes_on_in_its_stage(trained, tmp_path, monkeypatch):
    (system, run), out = trained
    calls = []

    def interrupted(model, guide, *args, **options):
        calls.append(type(guide).__name__)
        if len(calls) == 2:
            return Run([{"valid_elbo": 0.0, "train_elbo": 0.0}], options["out"], 1, interrupted=True)
        return fit(model, guide, *args, **options)

    monkeypatch.setattr(stages, "fit", interrupted)
    assert fit_recipe(RME, DATA, SETTINGS, tmp_path / "run")[1].interrupted
    assert calls == ["MeanField", "RecursiveMixture"]
    assert not (tmp_path / "run" / CANDIDATES).exists()
    settings = Settings.from_config(yaml.safe_load((tmp_path / "run" / "config.yaml").read_text()))
    other, again = fit_recipe(RME, DATA, settings, tmp_path / "run", resume=True)
    assert again.history[0]["valid_elbo"] == run.history[0]["valid_elbo"]
    assert_equal(weights(other[:2]), weights(system[:2]))
    assert sorted(each.name for each in out.iterdir()) == sorted(each.name for each in (tmp_path / "run").iterdir())


def test_the_folder_is_claimed_before_any_training(trained, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(trained[1], out)
    with pytest.raises(InputError, match="exists already"):
        fit_recipe(RME, DATA, SETTINGS, out)
    with pytest.raises(InputError, match=r"holds no config.yaml to resume from"):
        fit_recipe(RME, DATA, SETTINGS, tmp_path / "other", resume=True)
    with pytest.raises(InputError, match="contradict"):
        fit_recipe(RME, DATA, SETTINGS, out, resume=True, overwrite=True)


@pytest.mark.parametrize(
    ("recipe", "changes", "words"),
    [
        (RME, {"guide": "mixture(components=2), mixture(component=2)"}, "has no option 'component'"),
        (RME, {"guide": "mixture(components=2), mixture( components=2)"}, "names mixture-components=2 twice"),
        (RME, {"start_epochs": -1}, "start_epochs is -1"),
        (RME, {"guide": "mean-field, laplace(updates=-1)"}, "updates is -1"),
        (RECIPES["mixture"], {"guide": None, "prior": "gaussian-mixture"}, r"no mean-field guide .*\(start_epochs\)"),
    ],
)
def test_what_cannot_be_trained_is_refused_before(tmp_path, recipe, changes, words):
    with pytest.raises(InputError, match=words):
        fit_recipe(recipe, DATA, dataclasses.replace(SETTINGS, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_kept_run_loads(tmp_path):
    settings = dataclasses.replace(SETTINGS, data="digits", train_size=60, guide=", ".join(GUIDES[:2]))
    data = load_data(settings)
    system, _ = fit_recipe(RME, data, settings, tmp_path / "run")
    loaded = load_run(tmp_path / "run", device="cpu")
    assert_equal(weights(loaded.system[:2]), weights(system[:2]))
    x = data.test.x[:4]
    assert torch.equal(loaded.system.guide.posterior(x).locs, system.guide.posterior(x).locs)
