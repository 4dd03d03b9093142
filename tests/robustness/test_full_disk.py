"""A full disk: the checkpoint before stays, and the run goes on from it."""

import contextlib
import subprocess

import pytest

from pyro_vaes.errors import InputError
from pyro_vaes.losses import ELBO
from pyro_vaes.runs.folder import RunFolder
from tests.helpers.training import FILES, STEPS, assert_equal, at_step, build, train, weights


@pytest.fixture
def volume(tmp_path):
    """A disk of a megabyte."""
    place = tmp_path / "volume"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no volume can be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(place):
    with contextlib.suppress(OSError), (place / "filler").open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def test_a_full_disk_leaves_the_checkpoint_before(volume):
    run, whole, pair = volume / "run", build(), build(seed=1)
    train(whole, epochs=3)
    words = (
        r"run/{}.* cannot be written \(No space left on device\); what was saved in .*/run before is whole: make room"
    )
    filling = at_step(STEPS + 1, ELBO(), lambda: fill(volume))
    with pytest.raises(InputError, match=words.format("checkpoint")) as caught:
        train(build(), loss=filling, out=run, epochs=3)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=words.format("config")):
        train(build(), out=run, epochs=3, resume=True)
    assert len(RunFolder(run).read_checkpoint()["history"]) == 1
    assert sorted(path.name for path in run.iterdir()) == FILES
    (volume / "filler").unlink()
    train(pair, out=run, epochs=3, resume=True)
    assert_equal(weights(pair), weights(whole))
