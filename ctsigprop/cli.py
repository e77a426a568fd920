"""The command line: `ctsigprop demo`, `info`, and the commands of `ctsigprop.batch`."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated

import matplotlib as mpl
import typer

from ctsigprop.batch import commands
from ctsigprop.demo import run_demo
from ctsigprop.paths import local
from ctsigprop.rules.checks import lookup
from ctsigprop.rules.table import RULES
from ctsigprop.signals.table import SIGNALS
from ctsigprop.solvers.table import SOLVERS

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Learning as a dynamical system.")
for command in (commands.run, commands.compare, commands.sweep, commands.plot, commands.status):
    app.command()(command)
TABLES: dict[str, dict[str, type]] = {"rules": RULES, "signals": SIGNALS, "solvers": SOLVERS}


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="folder for the pictures")] = Path("demo"),
    epochs: Annotated[int, typer.Option(min=1, help="passes through the training images")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="decides split, order and initial weights")] = 0,
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
    what: Annotated[str, typer.Argument(help="'rules', 'signals' or 'solvers'")] = "rules",
    name: Annotated[str, typer.Argument(help="one of them, for its whole page")] = "",
) -> None:
    """List rules, signals or solvers with their equations, or print the page of one."""
    if what not in TABLES:
        raise typer.BadParameter(f"must be rules, signals or solvers, got {what!r}", param_hint="WHAT")
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
