"""Hostile input: files changed at random or on purpose, which have to be refused in words or to be harmless."""

from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pyro_vaes.training import fit as training
from tests.helpers.arrays import needs_torchvision
from tests.helpers.fuzz.arrays import load_idx, load_npz
from tests.helpers.fuzz.run_folders import fitted, load_run, read_checkpoint, resume, whole_run
from tests.helpers.fuzz.saved_pairs import load_pair
from tests.helpers.fuzz.settings import configure, name_options

pytestmark = pytest.mark.filterwarnings("ignore")  # NumPy's of old headers, Python's of names that repeat in an archive
FEW, MANY = 400, 12_500  # examples in all, ordinarily and with `make slow`

# what is fuzzed, with its share of the examples
TARGETS = {
    load_npz: 0.27,
    read_checkpoint: 0.19,
    load_pair: 0.2,
    load_run: 0.12,
    resume: 0.04,
    configure: 0.05,
    name_options: 0.05,
    load_idx: 0.08,
}
EACH = [
    pytest.param(target, marks=[needs_torchvision] if target is load_idx else [], id=target.__name__)
    for target in TARGETS
]


def fuzz(folder, target, examples):
    """Run a target on so many examples; gives what became of them."""
    counts = Counter()

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def run(data):
        counts[target(folder, data.draw)] += 1

    run()
    return counts


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A home and working folder of one's own, and trainings of one epoch."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(here))
    fit = training.fit

    def short(*args, epochs, **options):
        return fit(*args, epochs=min(epochs, 1) if type(epochs) is int else epochs, **options)

    whole_run()
    fitted()
    monkeypatch.setattr(training, "fit", short)
    return here


@pytest.mark.parametrize("target", EACH)
def test_hostile_input_is_refused_in_words(here, target):
    counts = fuzz(here, target, int(FEW * TARGETS[target]))
    assert counts["refused"] > 0
    assert not (here / "pwned").exists()


@pytest.mark.slow
@pytest.mark.parametrize("target", EACH)
def test_much_hostile_input_is_refused_in_words(here, target):
    counts = fuzz(here, target, int(MANY * TARGETS[target]))
    print(target.__name__, dict(counts))
    assert counts["refused"] > 0
    assert not (here / "pwned").exists()
