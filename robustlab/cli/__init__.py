"""``robustlab VERB SUBJECT [options]``: results on stdout, progress on stderr.

Exit codes:
0 done, 2 bad request (nothing ran), 3 no verdict (cells failed or are missing), 130 interrupted.
"""

from __future__ import annotations

import json
import sys

import click

from robustlab import __version__
from robustlab.cli.fool import fool
from robustlab.cli.listing import list_
from robustlab.cli.looking import doctor, show
from robustlab.cli.running import check, report, run
from robustlab.cli.training import train
from robustlab.cli.twins import twins
from robustlab.cli.viewing import view
from robustlab.errors import RobustlabError

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="robustlab")
def robustlab() -> None:
    """Attack trained CNNs, verify every success, tell it in one HTML page.

    Start with: robustlab run quick
    """


for command in (run, report, fool, view, list_, show, check, train, twins, doctor):
    robustlab.add_command(command)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    stdout = sys.stdout
    try:
        code = robustlab.main(given, prog_name="robustlab", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        error.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted; what has landed is kept, run the same command to go on", err=True)
        return 130
    except RobustlabError as error:
        if "--json" in given:
            click.echo(json.dumps({"error": str(error), "exit_code": error.exit_code}))
        click.echo(f"robustlab: {error}", err=True)
        return error.exit_code
    except SystemExit:
        if sys.stdout is stdout:
            raise
        return 0  # click replaced it, as the reader of our output has left: `| head` does
