"""Run a command where only what the package requires, without extras, can be imported."""

import configparser
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


def hidden_modules(names):
    """The modules of all distributions but those that are required by these."""
    allowed = required(names)
    return {
        module
        for module, owners in importlib.metadata.packages_distributions().items()
        if not any(re.sub(r"[-_.]+", "-", owner).lower() in allowed for owner in owners)
    } - {"pyro_vaes"}


class Without:
    """A finder that does not find some modules."""

    def __init__(self, finder, hidden):
        self.finder, self.hidden = finder, hidden

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] in self.hidden:
            return None
        return self.finder.find_spec(fullname, path, target)


if __name__ == "__main__":
    metadata, *sys.argv[1:] = sys.argv[1:]
    settings = configparser.ConfigParser()
    settings.read(metadata)
    lines = settings["options"]["install_requires"].split()
    hidden = hidden_modules([re.match(r"[\w.-]+", line)[0] for line in lines])
    sys.meta_path[:] = [Without(each, hidden) for each in sys.meta_path]
    sys.path.remove(str(Path(__file__).parent))
    runpy.run_module("pyro_vaes", run_name="__main__", alter_sys=True)
