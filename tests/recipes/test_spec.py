"""Names with options, as the command line takes them."""

import pytest

from pyro_vaes import guides, likelihoods
from pyro_vaes.errors import InputError
from pyro_vaes.recipes.spec import instantiate, kebab, parse, registry, slug, split
from pyro_vaes.vae import Guide


@pytest.mark.parametrize(
    ("name", "expected"),
    [("MeanField", "mean-field"), ("VAE", "vae"), ("Laplace2D", "laplace2-d"), ("semi_amortized", "semi-amortized")],
)
def test_kebab(name, expected):
    assert kebab(name) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("laplace", ("laplace", {})),
        (" laplace ( ) ", ("laplace", {})),
        ("laplace(updates=1, detach=True)", ("laplace", {"updates": 1, "detach": True})),
        ("x(a=(1, 2), b='c,d', e=-1.5)", ("x", {"a": (1, 2), "b": "c,d", "e": -1.5})),
    ],
)
def test_parse(text, expected):
    assert parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "()",
        "a b",
        "a(1)",
        "a(b=)",
        "a(b=1",
        "a(**{})",
        "a(b=print())",
        "a(b=c)",
        "a(b=1)(c=2)",
        "a(b=1, b=2)",
        "a()+a()",
    ],
)
def test_parse_refuses_and_runs_nothing(text):
    with pytest.raises(InputError, match="is no name with options: write it as laplace"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", ["a"]),
        (" a , b(c=1,d=2),,e ", ["a", "b(c=1,d=2)", "e"]),
        ("a(b=(1,2),c=3),d", ["a(b=(1,2),c=3)", "d"]),
        ("", []),
    ],
)
def test_split(text, expected):
    assert split(text) == expected


def test_folders_of_different_options_differ():
    texts = [
        "laplace",
        "laplace(updates=1)",
        "laplace(updates=11)",
        "laplace(step_size=0.1)",
        "laplace(step_size=1e-1)",
    ]
    made = [slug(text) for text in texts]
    assert len(set(made)) == len(texts)
    assert all(set(name).isdisjoint("/()' ,") for name in made)


def test_every_exported_guide_has_a_name():
    assert set(registry(guides, Guide)) == {kebab(name) for name in guides.__all__}
    assert instantiate("likelihood", likelihoods, likelihoods.Likelihood, "gaussian(scale=0.5)").log_scale.exp() == 0.5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gausian", "unknown likelihood 'gausian': did you mean 'gaussian'"),
        ("gaussian(sigma=1)", "likelihood gaussian has no option 'sigma'. Its options: scale=None, .*learn=True"),
        ("gaussian(scale=0)", "scale is 0"),
        ("gaussian(scale='a')", "likelihood gaussian: scale is 'a': expected a number or None"),
    ],
)
def test_build_refuses(text, words):
    with pytest.raises(InputError, match=words):
        instantiate("likelihood", likelihoods, likelihoods.Likelihood, text)
