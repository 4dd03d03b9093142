"""The command line ``pyro-vaes``: signatures and docstrings below are its flags and its help.

Nothing heavy is imported here, so that ``--help`` answers at once; each command imports what it needs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import cyclopts
from cyclopts import App, Parameter

from pyro_vaes import __version__
from pyro_vaes.cli.inspect import diagnose, evaluate, export, sample, traverse
from pyro_vaes.cli.lists import list_known, runs
from pyro_vaes.cli.options import COMMON, Switch
from pyro_vaes.cli.output import as_json, say, silenced
from pyro_vaes.cli.training import compare, train
from pyro_vaes.errors import InputError, NonFiniteError, shown
from pyro_vaes.runs.safe_yaml import read_settings
from pyro_vaes.settings import PARTS
from pyro_vaes.training.signals import on_termination
from pyro_vaes.validation import as_path

INTERRUPTED = 130  # exit status after Ctrl-C
TERMINATED = 143  # exit status after SIGTERM
MOST_LETTERS = 2000  # of an error, which may quote what somebody else wrote


app = App(
    name="pyro-vaes",
    version=__version__,
    help="Variational autoencoders for Pyro: train, compare inference methods, evaluate.",
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)


app.meta.suppress_keyboard_interrupt = False


def completion(*, shell: Literal["bash", "zsh", "fish"] | None = None, output: str | None = None) -> None:
    """Install completion of commands and flags in the shell.

    Args:
        shell: the shell; by default the one that runs.
        output: file of the script, by default where the shell looks for it.
    """
    where = app.install_completion(shell=shell, output=None if output is None else Path(output))
    say(f"completion is in {where}; a new shell has it")


for command in (train, compare, evaluate, diagnose, sample, traverse, export, runs, list_known, completion):
    name = "list" if command is list_known else command.__name__
    # With a name of its own, so that its usage does not name the program that runs, such as Sphinx.
    app.command(App(name=name, default_command=command))


@app.meta.default
def _launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    config: Annotated[str | None, Parameter(group=COMMON)] = None,
    json: Annotated[Switch, Parameter(group=COMMON)] = False,
    quiet: Annotated[Switch, Parameter(group=COMMON)] = False,
) -> int:
    """Run one command; the exit status.

    Args:
        tokens: the command and its arguments.
        config: take the command's arguments from a file, such as the config.yaml of a run.
        json: print the command's result as JSON on standard output, and nothing else there.
        quiet: print no lines and no progress; errors and the result of --json alone.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and "train" not in tokens:
        raise InputError("several processes share the work of train alone: start this command without torchrun")
    app.config = () if config is None else _configured(config, tokens)
    with silenced(lines=json, quiet=quiet):
        result = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    if json and result is not None:
        say(as_json(result))
    return INTERRUPTED if isinstance(result, dict) and result.get("interrupted") else 0


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; bad input ends it with a message on standard error and status 2, SIGTERM with 143."""
    app.config = ()  # of an earlier call in this process
    try:
        with on_termination(_terminated):
            app.meta(arguments, exit_on_error=False, print_error=False)
    except (InputError, NonFiniteError, cyclopts.CycloptsError) as error:
        _fail(str(error), 2)
    except ConnectionError as error:  # to other processes of the training
        _fail(str(error), 1)
    except OSError as error:
        _fail(f"{error}: give another path, or mend it", 2)
    except (MemoryError, RuntimeError) as error:
        from pyro_vaes.training.out_of_memory import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        reason = str(error).partition("\n")[0]
        _fail(f"there is too little memory ({reason}): take fewer data, samples or units, or another device", 2)
    except KeyboardInterrupt:
        _fail("interrupted", INTERRUPTED)


def _terminated(*_: Any) -> None:
    _fail("terminated; train and compare go on with --resume", TERMINATED)


def _fail(message: str, status: int) -> None:
    if len(message) > MOST_LETTERS:
        message = f"{message[:MOST_LETTERS]} ..."
    say(f"pyro-vaes: {message}", sys.stderr)
    raise SystemExit(status) from None


def _configured(path: str, tokens: Sequence[str]) -> cyclopts.config.Dict:
    """The settings of a file, as arguments of a command."""
    settings = read_settings(as_path(path, "config"), "give a file such as the config.yaml of a run")
    for name, value in settings.items():
        values = value if isinstance(value, list) else [value]
        if not all(each is None or isinstance(each, (str, int, float)) for each in values):
            raise InputError(f"{path}: {name} is {shown(value)}: expected one value, or a list of them")
        own = name in (*PARTS, "guides", "vary") and any(":" in str(each) for each in values)
        if own and not any(token.partition("=")[0] == f"--{name}" for token in tokens):
            raise InputError(
                f"{path} names {shown(value)}, and a file never has a module imported: name it again, --{name} {value}"
            )
    return cyclopts.config.Dict(settings, source=path, use_commands_as_keys=False)


if __name__ == "__main__":
    main()
