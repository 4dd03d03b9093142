"""Words and arrays that the command line refuses, leaving everything as it was."""

import sys

import numpy as np
import pytest
import yaml

from tests.helpers.arrays import images
from tests.helpers.command_line import SMALL, refused, run

GRAY = images(30, 4, 4)
WRONG_ARRAYS = {
    "no x_train": ({"x_test": GRAY}, "has no x_train: it holds x_test"),
    "two sizes": (
        {"x_train": GRAY, "x_test": images(5, 4, 6)},
        "x_train are 1x4x4 and of x_test 1x4x6: make them one size",
    ),
    "ragged": ({"x_train": np.array([GRAY[0], GRAY[1, :2]], dtype=object)}, "several sizes, resize them to one"),
    "NaN": ({"x_train": np.where(GRAY.max() == GRAY, np.nan, GRAY / 255)}, r"x_train\[.*\] is nan: .* in \[0, 1\]"),
    "range": ({"x_train": GRAY.astype(float)}, r"x_train\[.*\] is .*: divide pixels of 0..255 by 255"),
    "open layout": ({"x_train": images(30, 3, 5, 3)}, "x_train has shape .* --channels first or --channels last"),
    "labels": ({"x_train": GRAY, "y_train": np.arange(29)}, "y_train has 29 labels for the 30 images"),
}
WRONG_WORDS = {
    "train": "requires an argument",
    "train vae --epochs 1 --epochs 2": "--epochs",
    "train vea": "unknown recipe 'vea': did you mean 'vae'",
    "trian vae": "trian.*Did you mean .train",
    "list guids": "guids.*Did you mean .guides",
    "compare --guide laplace": "--guide. Did you mean --guides",
    "train vae --data digts": "unknown data set 'digts': did you mean 'digits'",
    "train vae --guide laplce": "unknown guide 'laplce': did you mean 'laplace'",
    "train vae --guide laplace(update=1)": "guide laplace has no option 'update': did you mean 'updates'.*detach=False",
    "train vae --guide laplace(updates='a')": "guide laplace: updates is 'a': expected a whole number",
    "train vae --prior convolutional-flow": r"needs event_shape: write.* convolutional-flow\(event_shape=\(1, 4, 4\)\)",
    "train vae --likelihood gaussian(scales=1)": "likelihood gaussian has no option 'scales': did you mean 'scale'",
    "train vae --loss free-bits(totl=1)": "loss free-bits has no option 'totl': did you mean 'total'",
    "train vae --guide laplace(updates=1": "write it as laplace or laplace",
    "train vae --likelihood gausian": "unknown likelihood 'gausian': did you mean 'gaussian'",
    "train vae --epohcs 3": "--epohcs.*--epochs",
    "train vae --epochs many": "--epochs.*many",
    "train vae --epochs 0": "epochs is 0: expected",
    "train vae --lr -1": "lr is -1",
    "train vae --batch-size 0": "batch_size is 0",
    "train vae --seed -1": "seed is -1: expected",
    "train vae --seed 99999999999999999999": "seed is 9999",
    "train vae --device gpu": "device 'gpu' is not available",
    "train vae --latent-dim 0": "latent_dim is 0: expected positive",
    "train vae --hidden a,b": "hidden is 'a,b': expected whole numbers",
    "train vae --hidden 8,0": "hidden is",
    "train vae --train-size 1": "train_size is 1",
    "train vae --binarize dinamic": "unknown binarization 'dinamic'",
    "train vae --data-root nowhere": "data root 'nowhere' is not a folder",
    "train full-covariance --published": "no published settings",
    "train vae --data none.npz": "there is no file 'none.npz'",
    "train vae --data truncated.npz": "truncated.npz' is not an npz archive, or is truncated",
    "train vae --resume --out empty": "holds no checkpoint.pt to resume from",
    "train vae --out taken": "taken exists already.*--resume.*--overwrite",
    "train vae --out taken --resume --overwrite": "contradict",
    "train vae --out file": "file is a file",
    "train --config none.yaml": "none.yaml",
    "train --config broken.yaml": "broken.yaml is no YAML mapping",
    "train --config words.yaml": "words.yaml is no YAML mapping",
    "train --config unknown.yaml": "nonsense",
    "train --config near.yaml": "epohcs.*near.yaml. Did you mean --epochs",
    "train --config typed.yaml": "epochs.*typed.yaml: unable to convert .many. into int",
    "compare --out taken": "taken exists already.*--overwrite",
    "compare --guides mean-field,laplce": "unknown guide 'laplce'",
    "compare --guides mean-field,mean-field": "none may repeat",
    "compare --seeds 0": "at least one guide and one seed",
    "compare --seeds a": "seeds is 'a'",
    "compare --num-samples 0": "num_samples is 0",
    "compare --vary priro=vamp-prior": "unknown setting 'priro': did you mean 'prior'",
    "compare --vary prior=vamp-priro": "unknown prior 'vamp-priro': did you mean 'vamp-prior'",
    "compare --vary prior": "vary is 'prior': give each setting once, with values",
    "compare --vary lr=fast,slow": "vary: lr is 'fast': expected float",
    "compare --vary data=digits,mnist": "data cannot vary: all trainings of a comparison have the same data",
    "compare --vary guide=laplace,mixture": "guide cannot vary: give guides",
    "compare --vary likelihood=gaussian,bernoulli": "likelihood=bernoulli for data with .*dynamic.* cannot be compared",
    "compare --config own.yaml": "own.yaml names .*own_parts:Wide.* name it again, --vary",
    "runs nowhere": "nowhere is no folder",
    "evaluate nowhere": "nowhere.config.yaml cannot be read",
    "evaluate empty": "empty.config.yaml cannot be read",
    "evaluate taken": "lacks 'recipe'",
    "sample nowhere": "give the folder of a run",
    "sample taken --n 0": "n is 0",
}


@pytest.mark.parametrize("command", WRONG_WORDS)
def test_wrong_words_are_refused(here, capsys, command):
    (here / "truncated.npz").write_bytes((here / "tiny.npz").read_bytes()[:-100])
    (here / "empty").mkdir()
    (here / "taken").mkdir()
    (here / "file").touch()
    (here / "taken" / "config.yaml").write_text("epochs: 3\n")
    (here / "broken.yaml").write_text("recipe: vae\n  epochs: [1,\n'x")
    (here / "words.yaml").write_text("just words\n")
    (here / "near.yaml").write_text("recipe: vae\nepohcs: 3\n")
    (here / "typed.yaml").write_text("recipe: vae\nepochs: many\n")
    (here / "unknown.yaml").write_text("recipe: vae\nnonsense: 3\n")
    (here / "own.yaml").write_text("vary: ['prior=standard-normal,own_parts:Wide']\n")
    before = sorted(here.rglob("*"))
    refused(command.split(), capsys, WRONG_WORDS[command])
    assert sorted(here.rglob("*")) == before


@pytest.mark.parametrize(("arrays", "words"), WRONG_ARRAYS.values(), ids=WRONG_ARRAYS)
@pytest.mark.parametrize("command", [["train", "vae"], ["compare"]], ids=["train", "compare"])
def test_wrong_arrays_are_refused(here, capsys, command, arrays, words):
    np.savez(here / "wrong.npz", **arrays)
    before = sorted(here.rglob("*"))
    refused([*command, "--data", "wrong.npz"], capsys, words)
    assert sorted(here.rglob("*")) == before


def test_a_torchvision_that_cannot_load_is_explained(here, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    refused(["train", "vae", "--data", "mnist"], capsys, "mnist is read by torchvision, but .*install the torchvision")
    assert [path.name for path in here.iterdir()] == ["tiny.npz"]


def test_a_run_whose_files_are_damaged_is_refused(here, capsys):
    assert run("train", "vae", "--data", "tiny.npz", *SMALL, "--out", "run") == 0
    checkpoint, config = (here / "run" / name for name in ("checkpoint.pt", "config.yaml"))
    whole, settings = checkpoint.read_bytes(), yaml.safe_load(config.read_text())
    checkpoint.write_bytes(whole[:500])
    refused(["evaluate", "run"], capsys, r"checkpoint\.pt is damaged")
    checkpoint.write_bytes(whole)
    for change, words in [
        (
            {"hidden": 9},
            "checkpoint's model is a VAE that does not fit this VAE: its decoder.* the shape",
        ),
        ({"recipe": "vea"}, "unknown recipe 'vea'"),
        ({"data": "gone.npz"}, "no file 'gone.npz'"),
    ]:
        config.write_text(yaml.safe_dump(settings | change))
        refused(["evaluate", "run", "--device", "cpu"], capsys, words)
    assert not (here / "run" / "evaluation.json").exists()
