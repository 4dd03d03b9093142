"""What README and site have that can be run or followed: Python blocks, commands, links."""

import re

from tests.helpers import ROOT

README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").rglob("*.md"))
RESULTS = sorted((ROOT / "benchmarks").rglob("*.md"))

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def blocks(path, language):
    return [code for name, code in BLOCK.findall(path.read_text(encoding="utf-8")) if name == language]


def run_python(path):
    """Run a file's Python blocks as they stand, one after the other, but for their budgets."""
    namespace = {}
    for block in blocks(path, "python"):
        exec(compile(block.replace("epochs=20", "epochs=1").replace("=1000", "=50"), path.name, "exec"), namespace)


def commands(path):
    return [line for block in blocks(path, "") for line in block.splitlines() if line.startswith("pyro-vaes ")]


def linked_files(path):
    """The files that a page's relative links name."""
    text = BLOCK.sub("", path.read_text(encoding="utf-8"))
    return [link.partition("#")[0] for link in LINK.findall(text) if not re.match(r"https?:|#", link)]
