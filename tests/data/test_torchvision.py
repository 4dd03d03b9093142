"""Data sets that torchvision reads: downloads, idx files, and a torchvision that does not load."""

import builtins
import subprocess
import sys
import types
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pyro_vaes.data import datasets, load
from pyro_vaes.data.binary_sets import BINARY_SETS
from pyro_vaes.errors import InputError
from tests.helpers import ROOT
from tests.helpers.arrays import needs_torchvision, pixels


def fake_torchvision(monkeypatch, **classes):
    module = types.ModuleType("torchvision")
    module.datasets = types.SimpleNamespace(**classes)
    monkeypatch.setitem(sys.modules, "torchvision", module)


class FakeMNIST:
    """Absent until it is downloaded."""

    downloads = 0

    def __init__(self, root, train, download):
        self.data, self.targets = torch.full((30, 4, 4), 9, dtype=torch.uint8), torch.arange(30)
        if download:
            type(self).downloads += 1
            (Path(root) / "here").touch()
        if not (Path(root) / "here").exists():
            raise RuntimeError("Dataset not found. You can use download=True to download it")


class FakeOmniglot(list):
    def __init__(self, root, background, download):
        image = Image.new("L", (105, 105), 255)
        image.paste(0, (0, 0, 45, 45))
        super().__init__((image, i) for i in range(12 if background else 5))


class TestTorchvision:
    def test_importing_the_data_module_leaves_it_alone(self):
        code = "import sys, pyro_vaes.data; assert not {'torchvision', 'sklearn', 'PIL'} & set(sys.modules)"
        subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)

    @pytest.mark.parametrize(
        "error",
        [
            ImportError("undefined symbol: _ZN3c10"),
            OSError("libcudart.so.12: cannot open shared object file"),
            RuntimeError("operator torchvision::nms does not exist"),
            AttributeError("partially initialized module 'torchvision' has no attribute 'extension'"),
        ],
    )
    def test_torchvision_that_does_not_load(self, monkeypatch, error):
        real = builtins.__import__

        def broken(name, *args, **kwargs):
            if name.startswith("torchvision"):
                raise error
            return real(name, *args, **kwargs)

        monkeypatch.setattr(builtins, "__import__", broken)
        monkeypatch.setattr("importlib.metadata.version", lambda name: "0.1")
        with pytest.raises(InputError) as caught:
            load("mnist")
        message = str(caught.value)
        assert f"torchvision 0.1 does not match the installed torch {torch.__version__}" in message
        assert str(error) in message
        assert "pip install 'pyro_vaes[vision]'" in message

    def test_torchvision_missing(self, monkeypatch):
        def absent(name):
            raise PackageNotFoundError(name)

        monkeypatch.setitem(sys.modules, "torchvision", None)
        monkeypatch.setattr("importlib.metadata.version", absent)
        with pytest.raises(InputError, match=r"torchvision is not installed for torch .*pip install 'pyro_vaes"):
            load("cifar10")

    def test_downloads_only_what_is_absent(self, monkeypatch, tmp_path):
        fake_torchvision(monkeypatch, MNIST=FakeMNIST)
        monkeypatch.setattr(FakeMNIST, "downloads", 0)
        monkeypatch.setattr("pyro_vaes.data.sources.CACHE", tmp_path / "new" / "cache")
        assert len(load("mnist").test) == 30
        assert FakeMNIST.downloads == 2
        data = load("mnist", root=tmp_path / "new" / "cache")
        assert FakeMNIST.downloads == 2
        assert data.description == (
            "mnist: 27 train, 3 valid, 30 test, 1x4x4; dequantized with uniform noise (256 bins)"
        )

    def test_download_that_fails(self, monkeypatch, tmp_path):
        def offline(root, train, download):
            raise OSError("no route to host") if download else RuntimeError("Dataset not found.")

        fake_torchvision(monkeypatch, CIFAR10=offline)
        with pytest.raises(
            InputError, match=r"cifar10 is missing or incomplete at .*cifar-10-batches-py.*no route to host.*as root"
        ):
            load("cifar10", root=tmp_path)

    def test_svhn_and_cifar10(self, monkeypatch, tmp_path):
        x = pixels(30, 32, 32, 3)
        cifar = types.SimpleNamespace(data=x, targets=list(range(30)))
        svhn = types.SimpleNamespace(data=np.moveaxis(x, -1, 1), labels=np.arange(30))
        fake_torchvision(monkeypatch, CIFAR10=lambda *_, **__: cifar, SVHN=lambda *_, **__: svhn)
        for name in ("cifar10", "svhn"):
            data = load(name, root=tmp_path)
            assert np.array_equal(data.test.pixels.numpy(), np.moveaxis(x, -1, 1))
            assert data.test.y.tolist() == list(range(30))

    def test_omniglot_is_shrunk_and_inverted(self, monkeypatch, tmp_path):
        fake_torchvision(monkeypatch, Omniglot=FakeOmniglot)
        data = load("omniglot", root=tmp_path)
        assert data.event_shape == (1, 28, 28)
        assert (data.test.pixels[:, :, :12, :12] == 255).all()
        assert data.test.pixels.float().mean() / 255 == pytest.approx((45 / 105) ** 2, rel=1e-3)
        assert data.test.y.tolist() == [12, 13, 14, 15, 16]
        assert data.description.endswith("not the 24,345 / 8,070 split of the literature")


def write_idx(folder, train=20, test=10):
    folder.mkdir(parents=True)
    for half, n in [("train", train), ("t10k", test)]:
        head = b"\x00\x00\x08\x03" + b"".join(k.to_bytes(4, "big") for k in (n, 28, 28))
        (folder / f"{half}-images-idx3-ubyte").write_bytes(head + pixels(n, 28, 28).tobytes())
        labels = b"\x00\x00\x08\x01" + n.to_bytes(4, "big") + bytes(i % 10 for i in range(n))
        (folder / f"{half}-labels-idx1-ubyte").write_bytes(labels)


@needs_torchvision
class TestIdxFiles:
    @pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
    def test_reads_what_is_there(self, tmp_path, name, folder):
        write_idx(tmp_path / folder / "raw")
        data = load(name, root=tmp_path)
        assert [len(s) for s in (data.train, data.valid, data.test)] == [18, 2, 10]
        assert np.array_equal(data.test.pixels[:, 0].numpy(), pixels(10, 28, 28))
        assert data.test.y.tolist() == list(range(10))

    @pytest.mark.parametrize("keep", [0, 3, 10, 1000])
    def test_cut_off(self, tmp_path, keep):
        write_idx(tmp_path / "MNIST" / "raw")
        path = tmp_path / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(InputError, match=r"the files .*MNIST/raw of mnist are damaged .*delete them"):
            load("mnist", root=tmp_path)

    def test_offline(self, monkeypatch, tmp_path):
        def offline(*args, **kwargs):
            raise OSError("no network")

        monkeypatch.setattr("urllib.request.urlopen", offline)
        for name in set(datasets) - {"digits", "coloured-digits", *BINARY_SETS}:  # which are not downloaded
            base = name.removeprefix("coloured-")
            with pytest.raises(InputError, match=f"{base} is missing or incomplete at .* could not be downloaded"):
                load(name, root=tmp_path)
