"""The call chain of one gradient step, from the training loop to the guide's posterior."""

import traceback

import pyro_vaes as pv
from tests.helpers.training import build, train

MOST_FRAMES = 9


def test_a_step_is_a_few_frames(monkeypatch):
    chains = []
    posterior = pv.Guide.posterior

    def noted(guide, x):
        chains.append([frame for frame in traceback.extract_stack() if "/pyro_vaes/" in frame.filename])
        return posterior(guide, x)

    monkeypatch.setattr(pv.Guide, "posterior", noted)
    train(build(), epochs=1)
    steps = [chain for chain in chains if any(frame.name == "_train" for frame in chain)]
    assert steps
    for chain in steps:
        names = [frame.name for frame in chain]
        step = [*names[names.index("_train") :], "posterior"]
        assert len(step) <= MOST_FRAMES, " -> ".join(step)
