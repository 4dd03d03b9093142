"""Configurations and names with options at random."""

import yaml
from hypothesis import strategies as st

from pyro_vaes.recipes.spec import parse
from tests.helpers.fuzz.arrays import npz
from tests.helpers.fuzz.guard import commanded, guarded, outcome
from tests.helpers.fuzz.mutations import NESTED, mutated

BOMB = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}, *{a}]\n" for a, b in zip("abcdefghijkl", "bcdefghijklm", strict=True)
)
SNIPPETS = [
    "!!python/object/apply:os.system ['touch pwned']",
    "!!python/name:os.system",
    "!!python/tuple [1, 2]",
    "!!binary aGVsbG8=",
    "!!timestamp x",
    "!!int ''",
    "!!bool perhaps",
    "!!float x",
    "!!set {a, b}",
    "2001-99-99",
    "0x" + "f" * 9000,
    "9" * 9000,
    "1:" * 3000 + "1",
    "[" * 3000,
    "{a: " * 2000,
    "&x [*x]",
    "*nothing",
    "'\\0'",
    "<<: {epochs: 3}",
    "|\n  text",
]
NAMES = {
    "recipe": ["vae", "laplace", "ladder", "ladder-mixture", "mixture", "hierarchical", "af-prior", "mae"],
    "guide": [
        "laplace(updates='a')",
        "laplace(updates=-1)",
        "householder(flows=[1])",
        "recursive-mixture(components=1e9)",
    ],
    "likelihood": [
        "gaussian(scale='x')",
        "gaussian(scale=nan)",
        "poisson(gray={})",
        "pixelcnn(layers=10**9)",
        "bernoulli",
    ],
    "prior": ["gaussian-mixture(components=1000000000000)", "gaussian-mixture(components='a')", "vamp-prior(1)"],
    "loss": ["iwae(num_particles=0)", "free-bits(total=None)", "free-bits(total=[])", "elbo(num_particles='x')"],
    "network": ["conv(x=1)", "conv", "resnet", "mlp(activation='x')", "../mlp"],
    "hidden": ["4,4", "-1", "1000000000000", "0", "4;4", ",", "²"],
    "latent_dim": ["2,2", "1000000000000", "0", ","],
    "data": [
        "digits",
        "/etc/passwd",
        "../data.npz",
        "data.npz\0",
        "/dev/zero",
        "x.npz",
        "//x/y.npz",
        "~nobody-here/x.npz",
    ],
    "data_root": ["..", "/", "\0", "~nobody-here", "/proc"],
    "device": ["meta", "cuda:99", "cpu:1", "mps", "xla", "privateuseone"],
    "out": ["../elsewhere", "\0", "~nobody-here/out", "x/" * 300, "", ".", "data.npz", "a\nb", "\ud800"],
    "step": ["graph", "eager", "x"],
    "optimizer": ["adamax", "sgd", "adam(betas=1)", "adam(betas=(0.9, 'x'))", "adam(differentiable=True)", "lbfgs"],
    "schedule": [
        "cosine",
        "cosine(warmup=10**9)",
        "plateau(factor=nan)",
        "constant(warmup='x')",
        "cosine(num_steps=1)",
    ],
    "patience": [1, 0, "3", 10**30],
    "clip_norm": [1, 0, "x", -1.5],
    "binarize": ["dynamic", "otsu"],
    "train_size": [2, 1, 10**9, "4"],
    "epochs": [1, 0, "3", 1.5, True],
    "seed": [-1, 2**32, "0", True],
    "config": ["x.yaml"],
    "help": [True],
    "nonsense": [1],
}


@st.composite
def hostile_config(draw, config):
    """A configuration with wrong values, keys, tags or bytes."""
    config = dict(config)
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(list(NAMES)))
        kind = draw(st.sampled_from(["known", "known", "any", "drop", "snippet", "bytes", "bomb"]))
        if kind == "known":
            config[name] = draw(st.sampled_from(NAMES[name]))
        elif kind == "any":
            config[name] = draw(NESTED)
        elif kind == "drop":
            config.pop(name, None)
        else:
            plain = yaml.safe_dump({key: value for key, value in config.items() if key != name}, sort_keys=False)
            if kind == "bytes":
                return draw(mutated(plain.encode())) + b"\nout: run\n"  # anywhere else is a user's own choice
            return (plain + (BOMB if kind == "bomb" else f"{name}: {draw(st.sampled_from(SNIPPETS))}\n")).encode()
    return yaml.safe_dump(config, sort_keys=False).encode()


def configure(folder, draw):
    config = {"recipe": "vae", "data": "data.npz", "hidden": "4", "latent_dim": 2, "epochs": 1}
    config |= {"batch_size": 4, "device": "cpu", "out": "run", "overwrite": True}
    (folder / "data.npz").write_bytes(npz())
    (folder / "given.yaml").write_bytes(draw(hostile_config(config)))
    with guarded(folder.parent):
        return commanded("train", "--config", folder / "given.yaml")


def name_options(folder, draw):
    inner = st.sampled_from(
        ["updates=1", "a='x'", "**{}", "f()", "[" * 300, "-" * 9000 + "1", "{[]: 1}", "1+1j", "\0", "x"]
    )
    text = (
        "laplace("
        + ",".join(draw(st.lists(inner | st.text(max_size=5), max_size=3)))
        + draw(st.sampled_from([")", ""]))
    )
    with guarded(folder / "nowhere"):
        return outcome(parse, text)
