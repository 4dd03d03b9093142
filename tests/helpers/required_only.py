"""Run a command where only what the package requires, without extras, can be imported."""

import configparser
import importlib.abc
import importlib.metadata
import re
import runpy
import sys
from pathlib import Path


def required(names):
    """The distributions of these names, and of all that they require without an extra."""
    found = set()
    while names:
        name = re.sub(r"[-_.]+", "-", names.pop()).lower()
        if name in found:
            continue
        found.add(name)
        try:
            lines = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:  # for another platform
            continue
        names += [re.match(r"[\w.-]+", line)[0] for line in lines if "extra ==" not in line]
    return found


class RequiredOnly(importlib.abc.MetaPathFinder):
    """Hides the modules of all distributions but those that are required."""

    def __init__(self, names):
        allowed = required(names)
        self.hidden = {
            module
            for module, owners in importlib.metadata.packages_distributions().items()
            if not any(re.sub(r"[-_.]+", "-", owner).lower() in allowed for owner in owners)
        } - {"pyro_vaes"}

    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] in self.hidden:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


if __name__ == "__main__":
    metadata, *sys.argv[1:] = sys.argv[1:]
    settings = configparser.ConfigParser()
    settings.read(metadata)
    lines = settings["options"]["install_requires"].split()
    sys.meta_path.insert(0, RequiredOnly([re.match(r"[\w.-]+", line)[0] for line in lines]))
    sys.path.remove(str(Path(__file__).parent))
    runpy.run_module("pyro_vaes", run_name="__main__", alter_sys=True)
