"""A guard around one example.

It has limits of time and of memory, and a hook that sees what Python writes, starts or connects to.
"""

import contextlib
import io
import os
import resource
import signal
import sys
from functools import cache
from pathlib import Path

import pytest

from pyro_vaes.cli.app import main
from pyro_vaes.errors import InputError, NonFiniteError

SECONDS, SPARE = 60, 2**31  # that an example may take, and bytes beyond what the process has
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate", "os.chmod"}
ESCAPES = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect", "socket.getaddrinfo"}


class Hang(BaseException):
    """An example took too long; no `except Exception` takes it for bad input."""


class Guard:
    """Watches one example."""

    folder = None  # where writing is allowed
    seen = ()

    def __call__(self, event, args):
        if self.folder is None:
            return
        if event in ESCAPES:
            self.seen.append((event, args))
        elif event == "open" and args[2] & WRITING:
            self.look(event, args[0])
        elif event in CHANGES:
            self.look(event, args[0])
            if event == "os.rename":
                self.look(event, args[1])

    def look(self, event, path):
        if isinstance(path, int) or os.fspath(path) == os.devnull:
            return
        parent, name = os.path.split(os.fsdecode(path))
        place = os.path.join(os.path.realpath(parent), name)  # a link itself may be moved or removed
        if event == "open":
            place = os.path.realpath(place)
        inside = os.path.commonpath([place, self.folder]) == self.folder
        if not inside and "__pycache__" not in os.fsdecode(path):
            self.seen.append((event, path))


GUARD = Guard()


@cache
def hooked():
    sys.addaudithook(GUARD)  # which cannot be taken off: without a folder it lets everything pass


@contextlib.contextmanager
def guarded(folder):
    """Within it a hang, a bomb, and a change outside of a folder are failures."""

    def hang(*_):
        raise Hang

    hooked()
    before = signal.signal(signal.SIGALRM, hang)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + SPARE, limits[1]))
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    GUARD.folder, GUARD.seen = os.path.realpath(folder), []
    try:
        yield
    finally:
        GUARD.folder = None
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, limits)
    assert not GUARD.seen


def outcome(call, *arguments):
    """What became of a call: its result was used, or refused in words."""
    try:
        call(*arguments)
    except (InputError, NonFiniteError) as error:
        words = str(error)
    else:
        return "used"
    assert 10 < len(words) < 3000
    return "refused"


def commanded(*tokens):
    """The same of a command."""
    err = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as end:
        main([str(token) for token in tokens])
    if not end.value.code:
        return "used"
    said = err.getvalue()
    assert end.value.code == 2, said
    assert "pyro-vaes: " in said
    assert "Traceback" not in said
    assert len(said) < 3000
    return "refused"


def quietly(call, *arguments):
    with contextlib.redirect_stderr(io.StringIO()):
        return outcome(call, *arguments)
