"""Files of saved pairs at random: bytes that are changed, or tensors and texts that are, under a right checksum."""

import tempfile
from functools import cache
from pathlib import Path

import torch
import yaml
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save

import pyro_vaes as pv
from pyro_vaes.runs.checkpoint import are_weights
from pyro_vaes.runs.pair_file import checksum
from tests.helpers.fuzz.guard import guarded, outcome
from tests.helpers.fuzz.mutations import NESTED, mutated
from tests.helpers.fuzz.run_folders import TENSORS
from tests.helpers.fuzz.settings import BOMB, NAMES, SNIPPETS

DENSE = TENSORS.filter(lambda value: are_weights({"": value}) and value.numel() < 100)
OTHERS = ["", ".", "model.", "model..x", "guide", "x" * 5000]


@cache
def saved_pair():
    """The bytes of a file of ``pv.save``, its tensors and its metadata."""
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "pair.safetensors"
        pv.save(file, *pv.recipes.vae((1, 4, 4), pv.recipes.Settings(latent_dim=2, hidden=(4,)))[:2])
        with safe_open(file, framework="pt") as stream:
            tensors = {name: stream.get_tensor(name).clone() for name in stream.offset_keys()}
            return file.read_bytes(), tensors, stream.metadata()


@st.composite
def described(draw, text):
    """A description one of whose values is exchanged."""
    whole = yaml.safe_load(text)
    part = draw(st.sampled_from([whole, whole["classes"], whole["built"], whole["built"]["settings"]]))
    key = draw(st.sampled_from([*part, "x"]))
    part[key] = draw(st.sampled_from(NAMES.get(key, [None])) | NESTED)
    return yaml.safe_dump(whole)


@st.composite
def hostile_pair(draw):
    content, tensors, metadata = saved_pair()
    tensors, metadata = tensors.copy(), metadata.copy()
    name = draw(st.sampled_from(list(tensors)))
    kind = draw(st.sampled_from(["bytes"] * 4 + ["description"] * 3 + ["text", "tensor", "drop", "rename"]))
    if kind == "bytes":
        return draw(mutated(content))
    if kind == "description":
        metadata[kind] = draw(described(metadata[kind]) | st.sampled_from([BOMB, *SNIPPETS]))
    elif kind == "text":
        metadata[draw(st.sampled_from([*metadata, "x"]))] = draw(st.text(max_size=8) | st.sampled_from(SNIPPETS))
    elif kind == "tensor":
        tensors[name] = draw(DENSE | st.sampled_from(list(tensors.values())).map(torch.clone))
    elif kind == "rename":
        tensors[draw(st.sampled_from(OTHERS))] = tensors.pop(name)
    else:
        del tensors[name]
    return save(tensors, metadata | {"sha256": checksum(tensors, metadata)})


def load_pair(folder, draw):
    path = folder / "pair.safetensors"
    path.write_bytes(draw(hostile_pair()))
    with guarded(folder / "nowhere"):
        return outcome(pv.load, path)
