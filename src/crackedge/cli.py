"""The command line: options in, one line of error and an exit code out."""

from __future__ import annotations

import importlib
import re
import sys
from typing import NoReturn

import click

from crackedge.commands import exit_codes
from crackedge.commands.standard_streams import guard_streams

_COMMANDS = ("bench", "calibrate", "evaluate", "export", "info", "run", "train", "tune", "verify")
_SETTINGS = {"max_content_width": 110, "help_option_names": ["-h", "--help"]}


def main() -> NoReturn:
    """Run the command line and end the process with the documented exit code."""
    guard_streams()
    try:
        code = cli(prog_name="crackedge", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except click.Abort:
        code = 130
    except Exception as error:
        said = _said_as(error)
        if said is None:
            raise
        code, line = said
        click.echo(f"crackedge: {line}", err=True)
    sys.exit(code if isinstance(code, int) else 0)


class _Commands(click.Group):
    """The commands, each imported when it is asked for: none waits for the others."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _COMMANDS and cmd_name not in self.commands:
            self.add_command(getattr(importlib.import_module(f"crackedge.commands.{cmd_name}"), cmd_name))
        return super().get_command(ctx, cmd_name)


@click.group(cls=_Commands, context_settings=_SETTINGS)
@click.version_option(package_name="crackedge")
def cli() -> None:
    """Find cracks in concrete, asphalt and masonry: in videos, photographs and live cameras.

    \b
    crackedge run inspection.mp4 -o out/      mark the cracks of a video
    crackedge run --camera 0                  ... of a camera
    crackedge evaluate DATA                   how right is the model?
    crackedge bench                           how fast is it here?
    """


def _said_as(error: Exception) -> tuple[int, str] | None:
    """The documented exit code and the line for an error of ours, or the system's about a file; None for any other."""
    from crackedge.edge_runtime import errors

    if isinstance(error, OSError) and error.filename is not None:  # in a folder that one may not enter, say
        return exit_codes.FAILED, f"{error.filename}: {error.strerror}"
    if not isinstance(error, errors.CrackedgeError):
        return None
    codes = {
        errors.OptionError: exit_codes.USAGE,
        errors.LiveSourceError: exit_codes.LIVE,
        errors.ProofError: exit_codes.PROOF,
    }
    line = _as_typed(str(error)) if isinstance(error, errors.OptionError) else str(error)
    return next((code for kind, code in codes.items() if isinstance(error, kind)), exit_codes.FAILED), line


def _as_typed(line: str) -> str:
    """A line in which options are called what one types: the library names its parameters (``max_frames``).

    Names of one word may be words of the sentence; they are options at its beginning, and where they "do not apply".
    In a recipe they are keys.
    """
    if re.match(r"\S+\.toml:", line):
        return line
    options = {
        _name(name.removeprefix("--")): name
        for command in cli.commands.values()  # the one that was asked for
        for option in command.params
        for name in (*option.opts, *option.secondary_opts)
        if name.startswith("--")
    }
    compound = "|".join(re.escape(name) for name in options if "_" in name)
    line = re.sub(r"^\w+|(?<=: )\S+(?= does not apply)", lambda found: options.get(_name(found[0]), found[0]), line)
    return re.sub(rf"(?<![\w.-])(?:{compound})(?!\w)", lambda found: options[found[0]], line) if compound else line


def _name(option: str) -> str:
    return option.replace("-", "_")
