"""The commands of `ctsigprop` that work on configuration files and stores."""

from __future__ import annotations

import functools
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import matplotlib as mpl
import matplotlib.pyplot as plt
import typer

from ctsigprop.batch.compare import plan_comparison
from ctsigprop.batch.config import ConfigError, Experiment, Load, Range, Setup, build_point, read, setups
from ctsigprop.batch.designs import design_points
from ctsigprop.batch.engine import WorkerLost
from ctsigprop.batch.estimate import duration, estimate
from ctsigprop.batch.job import Trial
from ctsigprop.batch.measures import as_measures, as_test
from ctsigprop.batch.parts import DataPart
from ctsigprop.batch.plan import Common, as_seeds
from ctsigprop.batch.records import StoreError
from ctsigprop.batch.remote import open_store
from ctsigprop.batch.runs import COUNTED, Runs
from ctsigprop.batch.schedule import Batch, Options, check_processes
from ctsigprop.batch.sweep import plan_sweep
from ctsigprop.datasets import Dataset
from ctsigprop.files.paths import local
from ctsigprop.simulation.simulate import simulate
from ctsigprop.solvers.status import Status
from ctsigprop.stimuli.presentations import Presentations

SOME_FAILED, MISTAKE, UNFINISHED, INTERRUPTED = 1, 2, 3, 130
"""Exit codes, besides 0: runs that did not complete; a mistake in what was asked; runs that remain, or a full store;
Ctrl-C."""

File = Annotated[
    Path, typer.Argument(help="a TOML file that describes the experiment; `ctsigprop info keys` lists what it may say")
]
Folder = Annotated[str, typer.Argument(help="the folder or address that --store named in a comparison or sweep")]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", help="KEY=VALUE overrides the file, e.g. --set network.rule.rate=2.0; may be repeated"),
]
Place = Annotated[
    str | None,
    typer.Option(help="folder, or address such as s3://bucket/runs, that keeps every run; default: nothing is kept"),
]
Out = Annotated[
    Path | None,
    typer.Option(help="folder for the results: table.csv, runs.csv (one line per run), table.md, table.tex, plot.png"),
]
Jobs = Annotated[int, typer.Option(help="processes to use, -1 for one per CPU core; wall times are comparable with 1")]
Engine = Annotated[
    str, typer.Option(help="where runs are done: 'local', this machine, or a Dask scheduler such as tcp://host:8786")
]
Resume = Annotated[bool, typer.Option("--resume", help="do only the runs that --store does not have yet")]
Retry = Annotated[
    bool, typer.Option("--retry", help="like --resume, and do runs that failed or diverged once more as well")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="estimate number of runs, time and disk space in a few seconds; run nothing")
]


def run(
    file: File,
    change: Changes = None,
    store: Annotated[
        Path | None, typer.Option(help="new folder for the result, read in Python by ct.load; default: nothing is kept")
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="random seed of the data split, the order of samples and the initial weights")
    ] = 0,
    dry_run: DryRun = False,
) -> None:
    """Train the one network that FILE describes, print its test metrics and save the result.

    It reads the tables network, data, presentations and solver, or their defaults; compare and sweep are ignored.
    """
    with mistakes():
        experiment, _ = read(file, change or ())
        network, stimulus, solver, data = experiment.parts(seed)
        if dry_run:
            trial = Trial(network, stimulus, solver, data)
            batch = plan_comparison({"network": trial}, common(experiment), [seed], "t", None)
            typer.echo(estimate(batch.jobs, Options(keep=True)))
            return
        folder = None if store is None else local("--store", store)
        if folder is not None and os.path.lexists(folder):
            raise ConfigError(f"--store {store} exists: choose another folder, or remove it first")
        try:
            sol = simulate(network, stimulus, solver, seed=seed, progress=True, execution=experiment.execution)
        except KeyboardInterrupt as stop:
            sol = vars(stop)["solution"]
        measures = as_measures(experiment.metrics)
        measured = measures(network, sol.final, as_test(data, network, stimulus), solver)
        for name, value in measured.items():
            typer.echo(f"{name} {value:.4f}")
        typer.echo(sol.message)
        if folder is not None:
            typer.echo(f"wrote {sol.save(folder)}")
    raise typer.Exit(0 if sol.status.ok else INTERRUPTED if sol.status is Status.INTERRUPTED else SOME_FAILED)


def compare(
    file: File,
    change: Changes = None,
    store: Place = None,
    out: Out = None,
    n_jobs: Jobs = 1,
    engine: Engine = "local",
    resume: Resume = False,
    retry: Retry = False,
    dry_run: DryRun = False,
) -> None:
    """Compare the learning rules that FILE lists under compare.rules: same data, same seeds, same budget.

    Prints a table of mean test accuracy with 95 % intervals, and which differences are larger than chance.
    """
    with mistakes(going_on("compare", file, change, store, engine)):
        check_processes(n_jobs)
        experiment, raw = read(file, change or ())
        if experiment.compare is None:
            raise ConfigError(f"{file}: compare: is missing; a comparison needs [compare.rules.NAME] tables")
        asked = experiment.compare
        load = functools.cache(DataPart.load)
        shown: dict[tuple[str, int], Presentations] = {}
        trials = {name: trial_of(setup, load, shown) for name, setup in setups(raw, str(file)).items()}
        batch = plan_comparison(trials, common(experiment), as_seeds(experiment.seeds), asked.test, asked.reference)
        code = carry_out(batch, experiment, store, out, (n_jobs, engine, resume, retry), dry_run)
    raise typer.Exit(code)


def sweep(
    file: File,
    change: Changes = None,
    store: Place = None,
    out: Out = None,
    n_jobs: Jobs = 1,
    engine: Engine = "local",
    resume: Resume = False,
    retry: Retry = False,
    dry_run: DryRun = False,
) -> None:
    """Run every combination of the settings that FILE lists under sweep.settings, and print a table of all runs."""
    with mistakes(going_on("sweep", file, change, store, engine)):
        check_processes(n_jobs)
        experiment, raw = read(file, change or ())
        if experiment.sweep is None:
            raise ConfigError(f"{file}: sweep: is missing; a sweep needs [sweep.settings]")
        asked = experiment.sweep
        drawn = {key: v.distribution() if isinstance(v, Range) else v for key, v in asked.settings.items()}
        points = design_points(drawn, asked.design, asked.n, asked.seed)
        build = functools.partial(build_point, raw, functools.cache(DataPart.load))
        batch = plan_sweep(build, points, common(experiment), as_seeds(experiment.seeds))
        code = carry_out(batch, experiment, store, out, (n_jobs, engine, resume, retry), dry_run)
    raise typer.Exit(code)


def plot(
    store: Folder,
    out: Annotated[Path, typer.Option(help="picture to write; its ending decides the format (png, pdf, svg)")] = Path(
        "plot.png"
    ),
    metric: Annotated[
        str | None, typer.Option(help="what to draw, such as accuracy; default: the first of the file's `metrics`")
    ] = None,
    x: Annotated[
        str | None,
        typer.Option(
            help="horizontal axis. Of a comparison: rhs_evaluations or seconds instead of presentations. "
            "Of a sweep: one of its settings, such as network.rule.rate"
        ),
    ] = None,
) -> None:
    """Draw the runs of a comparison or sweep, finished or not: learning curves, or the metric over the settings."""
    with mistakes():
        path = local("--out", out)
        picture(Runs.load(store), path, metric, x)
        typer.echo(f"wrote {path}")


def status(store: Folder) -> None:
    """Count the runs of a store that are done, running, failed and left, and estimate how long the rest will take.

    Exit code 0: all completed; 1: some failed; 3: some are left.
    """
    with mistakes():
        runs = Runs.load(store)
        states = runs.runs["status"].tolist()
        place = open_store(store)
        at = set() if place is None else set(place.running())
        left = [key for key, state in zip(runs.keys, states, strict=True) if state in ("missing", "damaged")]
        running = [key for key in left if key in at]
        failed = [state for state in states if state not in (*COUNTED, "missing", "damaged")]
        done = len(states) - len(left)
        spent = runs.costs["seconds"].dropna()
        rest = float(spent.mean()) * len(left) / max(1, len(running)) if len(spent) else float("nan")
        typer.echo(f"runs       {len(states)}\ndone       {done}\nfailed     {len(failed)}\nrunning    {len(running)}")
        typer.echo(f"left       {len(left)}" + (f", about {duration(rest)}" if left and rest == rest else ""))
        for text in sorted({str(m) for m, s in zip(runs.runs["message"], states, strict=True) if s in failed})[:5]:
            typer.echo(f"           {text}")
    raise typer.Exit(UNFINISHED if left else SOME_FAILED if failed else 0)


def common(experiment: Experiment) -> Common:
    """What all runs of an experiment share."""
    measures = as_measures(experiment.metrics)
    every, budget, stop = experiment.every, experiment.allowed(), experiment.hopeless()
    return Common(None, "auto", None, measures, every, budget, stop, experiment.execution)


def trial_of(setup: Setup, load: Load, known: dict[tuple[str, int], Presentations]) -> Trial:
    """A rule of a comparison: its network, and its data for every seed.

    `known` are the stimuli that were made before: rules that are shown the same share them.
    """
    first = setup.trial(0, load)
    described = setup.model_dump_json(include={"data", "presentations"})

    def shown(seed: int) -> Presentations:
        if (described, seed) not in known:
            known[described, seed] = setup.stimulus(seed, load)
        return known[described, seed]

    def test(seed: int) -> Dataset:
        return load(setup.data, seed)

    return Trial(first.network, shown, first.solver, test)


def carry_out(
    batch: Batch,
    experiment: Experiment,
    store: str | None,
    out: Path | None,
    how: tuple[int, str, bool, bool],
    dry_run: bool,
) -> int:
    """Do a batch and print its table: the exit code."""
    n_jobs, engine, resume, retry = how
    folder = None if out is None else local("--out", out)
    options = Options(open_store(store), engine, n_jobs, retry, progress=True)
    batch = batch.going_on_in(options.store)
    if dry_run:
        typer.echo(estimate(batch.jobs, options))
        return 0
    done = 0 if options.store is None else sum(job.key in options.store for job in batch.jobs)
    if done and not (resume or retry):
        raise ConfigError(
            f"--store {store} already has {done} of the {len(batch.jobs)} runs: --resume goes on with the others"
        )
    runs = batch.carry_out(options)
    typer.echo("\n".join(filter(None, [experiment.title and f"# {experiment.title}\n", runs.to_markdown()])))
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        runs.table.to_csv(folder / "table.csv", index=runs.compared is not None)
        runs.runs.to_csv(folder / "runs.csv", index=False)
        (folder / "table.md").write_text(runs.to_markdown() + "\n")
        (folder / "table.tex").write_text(runs.to_latex())
        picture(runs, folder / "plot.png")
        written = ("table.csv", "runs.csv", "table.md", "table.tex", "plot.png")
        typer.echo(f"wrote {', '.join(str(folder / name) for name in written)}")
    return 0 if runs.runs["status"].isin(COUNTED).all() else SOME_FAILED


def picture(runs: Runs, path: Path, metric: str | None = None, x: str | None = None) -> None:
    """Write the plot of runs."""
    mpl.use("Agg")
    figure = runs.plot(metric, x=x).get_figure(root=True)
    if figure is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)
    finally:
        plt.close(figure)


def going_on(command: str, file: Path, change: list[str] | None, store: str | None, engine: str) -> str:
    """The command that goes on with what is in a store, or nothing without one."""
    if store is None:
        return ""
    changes = [word for text in change or () for word in ("--set", text)]
    where = [] if engine == "local" else ["--engine", engine]
    return shlex.join(["ctsigprop", command, str(file), *changes, "--store", store, *where, "--resume"])


@contextmanager
def mistakes(resume: str = "") -> Iterator[None]:
    """Tell in one sentence what went wrong and what resumes it, with an exit code that scripts can use."""
    try:
        yield
    except (StoreError, WorkerLost) as error:
        typer.echo(f"ctsigprop: {error}" + (f"\nTo resume: {resume}" if resume else ""), err=True)
        raise typer.Exit(UNFINISHED) from None
    except (ValueError, TypeError, OSError, ImportError) as error:
        typer.echo(f"ctsigprop: {error}", err=True)
        raise typer.Exit(MISTAKE) from None
    except KeyboardInterrupt:
        typer.echo("ctsigprop: interrupted; what is in the store is whole", err=True)
        raise typer.Exit(INTERRUPTED) from None
