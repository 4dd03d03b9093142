"""The recipes: each builds, trains and is looked at from the command line, with small and with published settings."""

import dataclasses
import json

import numpy as np
import pytest
import torch
import yaml

from pyro_vaes.errors import InputError
from pyro_vaes.recipes import RECIPES, Settings, build_seeded
from pyro_vaes.recipes.build import build_loss
from pyro_vaes.runs.load_run import load_run
from tests.helpers.command_line import run

SHAPES = {"svhn": (3, 32, 32), "celeba": (3, 64, 64), "cifar10": (3, 32, 32)}
QUICK = {
    "recursive-mixture": ["--latent-dim", "2", "--hidden", "8", "--start-epochs", "1"],
    "ladder": ["--latent-dim", "2,2", "--hidden", "8,8"],
    "hierarchical": ["--latent-dim", "2,2", "--hidden", "8,8"],
    "ladder-mixture": [
        *["--latent-dim", "2,2", "--hidden", "8,8"],
        *["--prior", "gaussian-mixture(components=3), standard-normal"],
    ],
    "mixture": ["--latent-dim", "2", "--hidden", "8", "--prior", "gaussian-mixture(components=3)"],
    "lossy": ["--likelihood", "pixelcnn(window=(3, 2), layers=2, channels=4)", "--loss", "free-bits(total=1)"],
    "mae": ["--likelihood", "pixelcnn(layers=2, channels=4)"],
    "pixelcnn": ["--likelihood", "pixelcnn(layers=2, channels=4)"],
}


def on_cpu(*arguments):
    """The exit status of a command that runs on the CPU."""
    return run(*arguments, "--device", "cpu")


def build(name, settings, shape=(1, 28, 28), seed=0):
    return build_seeded(RECIPES[name], shape, settings, seed)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder with a small labeled set beside it."""
    random = np.random.default_rng(0)
    sizes = {"train": 60, "test": 12}
    pixels = {f"x_{part}": random.integers(0, 256, (n, 8, 8), dtype=np.uint8) for part, n in sizes.items()}
    np.savez(tmp_path / "tiny.npz", **pixels, **{f"y_{part}": np.arange(n) % 3 for part, n in sizes.items()})
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", RECIPES)
def test_each_trains_and_is_looked_at(here, name):
    quick = QUICK.get(name, ["--latent-dim", "2", "--hidden", "8"])
    assert on_cpu("train", name, "--data", "tiny.npz", "--epochs", "1", "--out", "run", *quick) == 0
    assert on_cpu("evaluate", "run", "--num-samples", "10") == 0
    assert on_cpu("sample", "run", "--n", "4") == 0
    assert on_cpu("traverse", "run", "--points", "2") == 0
    assert np.isfinite(json.loads((here / "run" / "evaluation.json").read_text())["log_likelihood"])
    for picture in ("samples.png", "traversals.png"):
        assert (here / "run" / picture).stat().st_size > 500
    factors = {row["factor"] for row in json.loads((here / "run" / "levels.json").read_text())["levels"]}
    assert factors == {"label"}


def test_a_run_can_be_had_again_from_its_configuration(here):
    flags = ["--data", "tiny.npz", "--epochs", "1", "--warmup", "7", "--ema", "0.9", "--optimizer", "adamax"]
    assert on_cpu("train", "ladder", *flags, *QUICK["ladder"], "--out", "first") == 0
    assert on_cpu("train", "--config", "first/config.yaml", "--out", "second") == 0
    first, second = (yaml.safe_load((here / folder / "config.yaml").read_text()) for folder in ("first", "second"))
    assert first == second | {"out": "first"}
    assert (first["latent_dim"], first["optimizer"]) == ("2,2", "adamax")
    rows = [json.loads((here / folder / "metrics.jsonl").read_text()) for folder in ("first", "second")]
    assert rows[0]["valid_elbo"] == rows[1]["valid_elbo"]


@pytest.mark.parametrize("name", RECIPES)
def test_settings_are_complete(name):
    """Small ones build for the embedded images, and a recipe without settings takes them."""
    own = build(name, RECIPES[name].small, (3, 8, 8) if name == "ladder" else (1, 8, 8))
    assert all(p.isfinite().all() for module in own[:2] for p in module.parameters())
    assert RECIPES[name]((1, 8, 8)).model.origin.settings == RECIPES[name].small


@pytest.mark.parametrize(("name", "data"), [(name, data) for name in RECIPES for data in RECIPES[name].published])
def test_published_settings_build(name, data):
    settings = RECIPES[name].published[data]
    system = build(name, settings, SHAPES.get(data, (1, 28, 28)))
    assert system.model.latent_dims == settings.latent_dims


@pytest.mark.parametrize("updates", [1, 2, 4, 8])
def test_published_numbers_of_newton_steps(updates):
    settings = RECIPES["laplace"].settings(published=True, data="mnist")
    assert (settings.center, settings.latent_dims, settings.hidden) == (True, (50,), (500, 500))
    guide = build("laplace", dataclasses.replace(settings, guide=f"laplace(updates={updates}, warmup=0)")).guide
    assert guide.updates == updates
    assert not guide.head.bias.any()


@pytest.mark.parametrize("name", ["vae", "laplace"])
@pytest.mark.parametrize("data", ["mnist", "fashion-mnist"])
def test_published_binary_images_are_not_centered(name, data):
    gray, binary = (RECIPES[name].settings(True, data, likelihood) for likelihood in ("gaussian", "bernoulli"))
    assert (gray.center, binary.center) == (True, False)
    assert dataclasses.replace(binary, center=True, likelihood="gaussian") == gray
    assert RECIPES[name].settings(True, data) == gray


def test_published_settings_train_on_binary_images_from_the_command_line(here):
    quick = ["--epochs", "1", "--latent-dim", "2", "--hidden", "8", "--data", "tiny.npz", "--out", "run"]
    assert on_cpu("train", "laplace", "--published", "--likelihood", "bernoulli", *quick) == 0
    loaded = load_run(here / "run")
    assert "binarized" in loaded.data.description
    assert (loaded.system.guide.updates, type(loaded.system.model.likelihood).__name__) == (4, "Bernoulli")


def test_published_settings_follow_the_data(here):
    picked = {"mnist": (2, 2, 2), "svhn": (5, 5, 5, 10), "digits": (2, 2, 2)}
    assert {data: RECIPES["ladder"].settings(published=True, data=data).latent_dims for data in picked} == picked


def test_channels_of_a_file_whose_layout_is_open_are_given_by_a_flag(here):
    np.savez(here / "open.npz", x_train=np.zeros((30, 4, 5, 3), np.uint8))
    quick = ["--epochs", "1", "--latent-dim", "2", "--hidden", "8"]
    assert on_cpu("train", "vae", "--data", "open.npz", "--channels", "last", "--out", "run", *quick) == 0
    assert load_run(here / "run").data.event_shape == (3, 4, 5)


def test_warmup_reaches_the_loss():
    loss = build("ladder", dataclasses.replace(RECIPES["ladder"].small, warmup=10)).loss
    assert loss.kl_weight() == 0
    loss.num_steps = 10
    assert loss.kl_weight() == pytest.approx(1 - np.exp(-1))


def test_top_down_inference_is_a_guide_of_the_hierarchy():
    settings = dataclasses.replace(RECIPES["hierarchical"].small, guide="top-down-guide")
    assert type(build("hierarchical", settings).guide).__name__ == "TopDownGuide"


def test_the_published_mixture_has_two_encoders_and_fixed_weights():
    settings = dataclasses.replace(RECIPES["mixture"].settings(published=True), latent_dim=3, hidden=(8,))
    model, guide, _ = build("mixture", settings)
    assert type(guide).__name__ == "TwoEncoderMixtureGuide"
    assert "prior.logits" not in dict(model.named_parameters())


@pytest.mark.parametrize(("labels", "sites"), [(None, set()), (20, {"y2"})])
def test_labels_of_a_ladder_are_clusters_of_its_highest_latent(labels, sites):
    settings = dataclasses.replace(RECIPES["ladder-mixture"].small, labels=labels, hidden=(8, 8))
    assert build("ladder-mixture", settings).model.cluster_sites == sites


def test_a_pixelcnn_alone_has_no_code():
    model = build("pixelcnn", RECIPES["pixelcnn"].small, (1, 8, 8)).model
    far = model.decoder(torch.tensor([[0.0], [50.0]]))
    assert torch.equal(far[0], far[1])


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("vae", {"latent_dim": (2, 2)}, "this model has one latent: give one size"),
        ("ladder", {"latent_dim": (2, 2, 2)}, "3 latent_dims .2, 2, 2., but the networks have 2 levels"),
        ("ladder", {"latent_dim": (2, 0)}, "latent_dims is .2, 0.: expected positive"),
        ("ladder", {"prior": "standard-normal, standard-normal, vamp-prior"}, "3 priors for 2 latents"),
        ("ladder", {"guide": "laplace"}, "a guide of its own"),
        ("mixture", {"guide": "mean-field"}, "expected mixture-guide or two-encoder-mixture-guide"),
        ("ladder", {"network": "resnet"}, "resnet"),
        ("ladder", {"network": "conv", "latent_dim": (1,) * 6, "hidden": (4,) * 6}, "at most 5"),
        ("ladder-mixture", {"prior": "standard-normal"}, "no latent has clusters"),
        ("mixture", {"prior": "standard-normal"}, "has no clusters"),
        ("hierarchical", {"guide": "ladder-guide"}, "did you mean 'top-down-guide' or 'hierarchical-guide'"),
        ("vae", {"network": "mpl"}, "did you mean 'mlp'"),
        ("vae", {"network": "mlp(widths=3)"}, "network mlp has no option 'widths'. It takes none"),
        ("vae", {"loss": "ebo"}, "did you mean 'elbo'"),
        ("lossy", {"warmup": -1}, "warmup is -1"),
    ],
)
def test_bad_settings_are_refused(name, changes, words):
    with pytest.raises(InputError, match=words):
        build(name, dataclasses.replace(RECIPES[name].small, **changes))


def test_a_warmup_needs_a_weight():
    class Plain(torch.nn.Module):
        loss = "RecursiveMixtureELBO"

    with pytest.raises(InputError, match="no weight on its KL"):
        build_loss(Plain(), Settings(warmup=5))


def test_more_clusters_than_data_are_refused(here, capsys):
    assert on_cpu("train", "mixture", "--data", "tiny.npz", "--prior", "gaussian-mixture(components=99)") == 2
    assert "at most components=54" in capsys.readouterr().err
