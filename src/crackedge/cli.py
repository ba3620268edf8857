"""The command line: options in, one line of error and an exit code out."""

from __future__ import annotations

import sys
from typing import NoReturn

import click

from crackedge.commands import exit_codes
from crackedge.commands.bench import bench
from crackedge.commands.calibrate import calibrate
from crackedge.commands.evaluate import evaluate
from crackedge.commands.export import export
from crackedge.commands.info import info
from crackedge.commands.run import run
from crackedge.commands.train import train
from crackedge.commands.tune import tune
from crackedge.commands.verify import verify

_SETTINGS = {"max_content_width": 110, "help_option_names": ["-h", "--help"]}


def main() -> NoReturn:
    """Run the command line and end the process with the documented exit code."""
    try:
        code = cli(prog_name="crackedge", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except click.Abort:
        code = 130
    except Exception as error:
        code = _exit_code(error)
        if code is None:
            raise
        click.echo(f"crackedge: {error}", err=True)
    sys.exit(code if isinstance(code, int) else 0)


@click.group(context_settings=_SETTINGS)
@click.version_option(package_name="crackedge")
def cli() -> None:
    """Find cracks in concrete, asphalt and masonry: in videos, photographs and live cameras.

    \b
    crackedge run inspection.mp4 -o out/      mark the cracks of a video
    crackedge run --camera 0                  ... of a camera
    crackedge evaluate DATA                   how right is the model?
    crackedge bench                           how fast is it here?
    """


for _command in (run, evaluate, calibrate, bench, tune, info, verify, train, export):
    cli.add_command(_command)


def _exit_code(error: Exception) -> int | None:
    """The documented exit code of an error of ours; None for any other."""
    from crackedge.edge_runtime import errors

    if not isinstance(error, errors.CrackedgeError):
        return None
    codes = {
        errors.OptionError: exit_codes.USAGE,
        errors.LiveSourceError: exit_codes.LIVE,
        errors.ProofError: exit_codes.PROOF,
    }
    return next((code for kind, code in codes.items() if isinstance(error, kind)), exit_codes.FAILED)
