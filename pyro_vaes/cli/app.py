"""The command line ``pyro-vaes``: signatures and docstrings below are its flags and its help.

Nothing heavy is imported here, so that ``--help`` answers at once; each command imports what it needs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import cyclopts
from cyclopts import App, Parameter

from pyro_vaes import __version__
from pyro_vaes.cli.inspect import diagnose, evaluate, export, sample, traverse
from pyro_vaes.cli.training import INTERRUPTED, compare, say, train
from pyro_vaes.errors import InputError, NonFiniteError, shown
from pyro_vaes.runs.safe_yaml import read_settings
from pyro_vaes.settings import PARTS
from pyro_vaes.training.signals import on_termination
from pyro_vaes.validation import as_path

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


def recipes() -> None:
    """List the recipes."""
    from pyro_vaes.recipes import RECIPES

    for name, recipe in RECIPES.items():
        print(f"{name:18}{recipe.paper}")


def datasets() -> None:
    """List the data sets."""
    from pyro_vaes.data import datasets as known

    for name, line in known.items():
        print(f"{name:25}{line}")
    print(f"{'FILE.npz':25}x_train[, y_train], x_valid, x_test …: images or vectors of any --kind")
    print(f"{'FILE.npy':25}or .csv, .parquet, .h5ad: one array or table, of which the splits are drawn")


for command in (train, compare, evaluate, diagnose, sample, traverse, export, recipes, datasets):
    # With a name of its own, so that its usage does not name the program that runs, such as Sphinx.
    app.command(App(name=command.__name__, default_command=command))


@app.meta.default
def _launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)], config: str | None = None
) -> None:
    """Run one command.

    Args:
        tokens: the command and its arguments.
        config: take the command's arguments from a file, such as the config.yaml of a run.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and "train" not in tokens:
        raise InputError("several processes share the work of train alone: start this command without torchrun")
    app.config = () if config is None else _configured(config, tokens)
    app(tokens, exit_on_error=False, print_error=False)


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
        own = name in (*PARTS, "guides") and any(":" in str(each) for each in values)
        if own and not any(token.partition("=")[0] == f"--{name}" for token in tokens):
            raise InputError(
                f"{path} names {shown(value)}, and a file never has a module imported: name it again, --{name} {value}"
            )
    return cyclopts.config.Dict(settings, source=path, use_commands_as_keys=False)


if __name__ == "__main__":
    main()
