"""Saved pairs: what comes back, and what is refused or replaced."""

import pyro
import pytest
import torch
import yaml
from torch import nn

import pyro_vaes as pv
from pyro_vaes.recipes import RECIPES
from pyro_vaes.runs.folder import RunFolder
from tests.helpers.saved_pairs import SHAPE, X, assert_same, build, by_hand, content

DATA = pv.data.Data.from_arrays(x_train=torch.rand(40, *SHAPE, generator=torch.Generator().manual_seed(1)))


def seeded_terms(model, guide):
    torch.manual_seed(3)
    return pv.losses.ELBO().terms(model, guide, X)


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_a_pair_of_every_recipe_comes_back(tmp_path, recipe):
    system = build(recipe)
    pv.save(tmp_path / "pair.safetensors", system.model, system.guide)
    model, guide = pv.load(tmp_path / "pair.safetensors")
    assert_same((model, guide), system[:2])
    assert (type(model), type(guide)) == (type(system.model), type(system.guide))
    assert not model.training
    assert not guide.training
    assert guide.vae is model
    pv.save(tmp_path / "again.safetensors", model, guide)  # what was loaded knows its recipe too
    assert_same(pv.load(tmp_path / "again.safetensors"), (model, guide))


def test_a_pair_of_fit_comes_back_with_its_options(tmp_path):
    model, guide, _ = build("laplace", guide="laplace(updates=2)", latent_dim=3, hidden=(8,))
    pv.fit(model, guide, DATA, epochs=1, progress=False)
    pv.save(tmp_path / "pair.safetensors", model, guide)
    loaded = pv.load(tmp_path / "pair.safetensors")
    assert loaded[1].updates == 2
    for name, value in seeded_terms(*loaded).items():
        assert torch.equal(value, seeded_terms(model, guide)[name]), name


def test_a_pair_of_stock_pyro_comes_back(tmp_path):
    model, guide, _ = build(latent_dim=3, hidden=(8,))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), pyro.infer.Trace_ELBO())
    svi.step(X)
    assert not torch.equal(before["decoder.0.weight"], model.state_dict()["decoder.0.weight"])
    names = set(pyro.get_param_store().keys())
    pv.save(tmp_path / "pair.safetensors", model, guide)
    assert_same(pv.load(tmp_path / "pair.safetensors"), (model, guide))
    assert set(pyro.get_param_store().keys()) == names


def test_a_run_can_be_shared(tmp_path, monkeypatch):
    from pyro_vaes.cli.app import main

    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["train", "vae", "--train-size", "40", "--epochs", "1", "--latent-dim", "2", "--out", "run"])
    system = pv.load_run("run", device="cpu").system
    pv.save("pair.safetensors", *system[:2])
    assert_same(pv.load("pair.safetensors"), system[:2])


def test_float64_stays(tmp_path):
    system = build(latent_dim=2, hidden=(8,))
    model, guide = system.model.double(), system.guide.double()
    pv.save(tmp_path / "pair.safetensors", model, guide)
    assert_same(pv.load(tmp_path / "pair.safetensors"), (model, guide))


def test_a_pair_built_by_hand_is_loaded_into_ones_own(tmp_path):
    pair, own = by_hand(), by_hand()
    pv.save(tmp_path / "pair.safetensors", *pair)
    assert pv.load(tmp_path / "pair.safetensors", *own) == own
    assert_same(own, pair)
    with pytest.raises(pv.InputError, match=r"holds a VAE and a MeanField .* give them, load\(path, model, guide\)"):
        pv.load(tmp_path / "pair.safetensors")


@pytest.mark.parametrize(
    "change",
    [
        lambda model, guide: setattr(guide, "updates", 9),
        lambda model, guide: setattr(model, "likelihood", pv.likelihoods.Gaussian(0.5, learn=False)),
        lambda model, guide: model.decoder.append(nn.ReLU()),
    ],
)
def test_a_pair_that_its_recipe_would_not_build_is_not_rebuilt(tmp_path, change):
    model, guide, _ = build("laplace", latent_dim=2, hidden=(8,))
    change(model, guide)
    pv.save(tmp_path / "pair.safetensors", model, guide)
    with pytest.raises(pv.InputError, match="not as a recipe builds them"):
        pv.load(tmp_path / "pair.safetensors")


def test_another_guide_on_a_recipes_model_is_not_rebuilt(tmp_path):
    model = build(latent_dim=2).model
    pv.save(tmp_path / "pair.safetensors", model, pv.guides.Laplace(model, pv.networks.MLPEncoder(SHAPE, hidden=(8,))))
    with pytest.raises(pv.InputError, match="holds a VAE and a Laplace"):
        pv.load(tmp_path / "pair.safetensors")


def test_the_file_says_what_it_holds(tmp_path):
    system = build(latent_dim=2)
    pv.save(tmp_path / "pair.safetensors", *system[:2])
    tensors, metadata = content(tmp_path / "pair.safetensors")
    names = {"model": system.model.state_dict(), "guide": system.guide.state_dict()}
    assert tensors.keys() == {f"{part}.{name}" for part, state in names.items() for name in state}
    assert metadata["format"] == "2"
    assert yaml.safe_load(metadata["versions"]).keys() == {"pyro_vaes", "torch", "pyro", "python"}
    assert "recipe: vae" in metadata["description"]
    assert "latent_dim: 2" in metadata["description"]
    assert "latent_dim: 2" in (tmp_path / "pair.safetensors").read_bytes().decode("latin-1")


def tied():
    """A pair two of whose layers share a weight that is a transpose in memory, and a buffer that is a part of it."""
    model, guide = by_hand()
    layers = nn.Linear(4, 4), nn.Linear(4, 4)
    layers[0].weight = layers[1].weight = nn.Parameter(torch.randn(4, 4).T)
    layers[0].register_buffer("part", layers[0].weight.detach()[:2])
    model.decoder = nn.Sequential(nn.Linear(2, 4), *layers, nn.Linear(4, 64), nn.Unflatten(-1, SHAPE))
    return model, guide


def test_weights_that_share_memory_come_back(tmp_path):
    pair, own = tied(), tied()
    assert not pair[0].decoder[1].weight.is_contiguous()
    pv.save(tmp_path / "pair.safetensors", *pair)
    pv.load(tmp_path / "pair.safetensors", *own)
    assert_same(own, pair)
    assert own[0].decoder[1].weight is own[0].decoder[2].weight


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (by_hand(guide=pv.guides.Laplace), "the guide in .* is a MeanField, here it is a Laplace: give one of its"),
        (by_hand(features=7), r"guide in .* is a MeanField that does not fit this MeanField: its .* shape"),
    ],
)
def test_another_pair_is_refused_and_left_as_it_was(tmp_path, own, words):
    pv.save(tmp_path / "pair.safetensors", *by_hand())
    before = {name: value.clone() for name, value in own[0].state_dict().items()}
    with pytest.raises(pv.InputError, match=words):
        pv.load(tmp_path / "pair.safetensors", *own)
    assert all(torch.equal(value, before[name]) for name, value in own[0].state_dict().items())
    with pytest.raises(pv.InputError, match="one of model and guide is missing"):
        pv.load(tmp_path / "pair.safetensors", own[0])


def test_paths_that_are_none(tmp_path):
    pair = by_hand()
    (tmp_path / "notes.txt").write_text("mine")
    for path, words in ((tmp_path, "is a folder: give the file"), (tmp_path / "notes.txt", "no file that save may")):
        with pytest.raises(pv.InputError, match=words):
            pv.save(path, *pair)
    with pytest.raises(pv.InputError, match=r"cannot be written \(No such file or directory\)"):
        pv.save(tmp_path / "missing" / "pair.safetensors", *pair)
    for path, words in (
        (tmp_path, "folder of a run is for load_run"),
        (tmp_path / "gone.safetensors", "does not exist"),
    ):
        with pytest.raises(pv.InputError, match=words):
            pv.load(path)
    with pytest.raises(pv.InputError, match="model is a function: expected a module"):
        pv.save(tmp_path / "pair.safetensors", lambda x: x, pair[1])
    pair[0].register_buffer("sparse", torch.zeros(2).to_sparse())
    with pytest.raises(pv.InputError, match="state of model holds more than dense tensors"):
        pv.save(tmp_path / "pair.safetensors", *pair)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_saved_pair_is_replaced_and_a_checkpoint_is_not(tmp_path):
    first, second = build(latent_dim=2, hidden=(8,)), build(latent_dim=2, hidden=(8,))
    for system in (first, second):
        pv.save(tmp_path / "pair.safetensors", *system[:2])
    assert_same(pv.load(tmp_path / "pair.safetensors"), second[:2])
    pv.fit(*first[:2], DATA, epochs=1, out=tmp_path / "run", progress=False)
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    with pytest.raises(pv.InputError, match="no file that save may replace"):
        pv.save(checkpoint, *first[:2])
    with pytest.raises(pv.InputError, match="a run's checkpoint is for load_run"):
        pv.load(checkpoint)
    assert RunFolder(tmp_path / "run").read_checkpoint()["history"]
