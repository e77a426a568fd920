"""The command line: `ctsigprop demo`, `info`, and the commands of `ctsigprop.batch`."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated

import matplotlib as mpl
import typer

from ctsigprop import __version__
from ctsigprop.batch import commands
from ctsigprop.batch.keys import as_text
from ctsigprop.demo import run_demo
from ctsigprop.files.paths import local
from ctsigprop.rules.checks import lookup
from ctsigprop.rules.table import RULES
from ctsigprop.signals.table import SIGNALS
from ctsigprop.solvers.table import SOLVERS

app = typer.Typer(no_args_is_help=True, add_completion=False)
for command in (commands.run, commands.compare, commands.sweep, commands.plot, commands.status):
    app.command()(command)
TABLES: dict[str, dict[str, type]] = {"rules": RULES, "signals": SIGNALS, "solvers": SOLVERS}


def tell_version(asked: bool) -> None:
    """Print the version and stop."""
    if asked:
        typer.echo(f"ctsigprop {__version__}")
        raise typer.Exit


@app.callback()
def main(
    asked: Annotated[
        bool, typer.Option("--version", callback=tell_version, is_eager=True, help="print the version and stop")
    ] = False,
) -> None:
    """Train networks whose activity, learning signal and weights are one differential equation.

    Start with `demo`. `run`, `compare` and `sweep` read an experiment from a TOML file,
    `plot` and `status` look at what they stored.
    """


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="folder for the three pictures")] = Path("demo"),
    epochs: Annotated[int, typer.Option(min=1, help="passes through the training images")] = 20,
    seed: Annotated[
        int, typer.Option(min=0, help="random seed of the data split, the order of samples and the initial weights")
    ] = 0,
) -> None:
    """Watch a continuous-time network learn handwritten digits; writes three pictures."""
    mpl.use("Agg")
    try:
        folder = local("--out", out)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--out") from None
    try:
        sol = run_demo(folder, epochs, seed, typer.echo)
    except OSError as error:
        raise typer.BadParameter(f"{out} cannot be written to: {error.strerror}", param_hint="--out") from None
    raise typer.Exit(0 if sol.status.ok else 1)


@app.command()
def info(
    what: Annotated[str, typer.Argument(help="'rules', 'signals', 'solvers', or 'keys' of a TOML file")] = "rules",
    name: Annotated[str, typer.Argument(help="one rule, signal or solver, such as oja, for its whole page")] = "",
) -> None:
    """List rules, signals or solvers with their equations, print the page of one, or list the keys of a TOML file."""
    if what == "keys":
        typer.echo(as_text())
        return
    if what not in TABLES:
        raise typer.BadParameter(f"must be rules, signals, solvers or keys, got {what!r}", param_hint="WHAT")
    table = TABLES[what]
    if name:
        try:
            cls = lookup(what[:-1], name, table)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="NAME") from None
        typer.echo(f"{cls.__name__}{inspect.signature(cls)}\n\n{inspect.getdoc(cls)}")
        return
    width = max(map(len, table))
    for key, cls in table.items():
        paragraph = " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split())
        typer.echo(f"{key:<{width}}  {paragraph}")
