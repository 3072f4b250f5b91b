"""The command line's front door: options are parsed here, the work is imported when it starts."""

import sys
from typing import Annotated

import typer

from perturbkit import __version__
from perturbkit.cli.benchmark import benchmark
from perturbkit.cli.cells import app as cells
from perturbkit.cli.check import check
from perturbkit.cli.de import de
from perturbkit.cli.demo import demo
from perturbkit.cli.design import app as design
from perturbkit.cli.embed import embed
from perturbkit.cli.explain import app as explain
from perturbkit.cli.export import export
from perturbkit.cli.fit import fit
from perturbkit.cli.graph import app as graph
from perturbkit.cli.guides import guides
from perturbkit.cli.hyperperturb import hyperperturb
from perturbkit.cli.listing import listing
from perturbkit.cli.names import names
from perturbkit.cli.predict import predict
from perturbkit.cli.prepare import prepare
from perturbkit.cli.report import report
from perturbkit.cli.score import score
from perturbkit.cli.sweep import sweep
from perturbkit.cli.vcc import app as vcc
from perturbkit.core.errors import PerturbkitError

app = typer.Typer(
    name="perturbkit",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("demo")(demo)
app.command("list")(listing)
app.command("fit")(fit)
app.command("predict")(predict)
app.command("score")(score)
app.command("report")(report)
app.command("check")(check)
app.command("guides")(guides)
app.command("prepare")(prepare)
app.command("export")(export)
app.command("de")(de)
app.command("names")(names)
app.command("hyperperturb")(hyperperturb)
app.command("benchmark")(benchmark)
app.command("sweep")(sweep)
app.command("embed")(embed)
app.add_typer(cells, name="cells")
app.add_typer(explain, name="explain")
app.add_typer(graph, name="graph")
app.add_typer(design, name="design")
app.add_typer(vcc, name="vcc")

_ClickException: type[Exception] = next(
    c
    for c in typer.BadParameter.__mro__
    if issubclass(c, Exception) and c.__name__ == "ClickException"
)
"""what typer raises for a wrong option; typer carries its own click under a private name"""


def _version(wanted: bool) -> None:  # noqa: FBT001  (the signature typer calls)
    if wanted:
        typer.echo(f"perturbkit {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Predict, explain and design perturbation experiments on cells."""


def run(arguments: list[str]) -> int:
    """Run the command line with these arguments and return the exit code.

    A user's mistake is one line on standard error and code 2; an interrupt is code 130.
    """
    command = typer.main.get_command(app)
    try:
        result = command.main(arguments, prog_name="perturbkit", standalone_mode=False)
    except PerturbkitError as error:
        return _fail(str(error))
    except _ClickException as error:
        return _fail(error.format_message())  # type: ignore[attr-defined]
    except typer.Exit as stop:
        return stop.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return _fail("interrupted; a fit goes on with --resume", code=130)
    return result if isinstance(result, int) else 0


def _fail(message: str, code: int = 2) -> int:
    line = " ".join(message.split())
    typer.echo(f"error: {line}", err=True)
    return code


def main() -> None:
    """Run the command line on this process's arguments."""
    sys.exit(run(sys.argv[1:]))
