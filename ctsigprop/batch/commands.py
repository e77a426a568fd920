"""The commands of `ctsigprop` that work on configuration files and stores."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import typer

from ctsigprop.batch.compare import plan_comparison
from ctsigprop.batch.config import ConfigError, Experiment, Range, Setup, build_point, read, setups
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
from ctsigprop.simulate import simulate

SOME_FAILED, MISTAKE, UNFINISHED = 1, 2, 3
"""Exit codes, besides 0: runs that did not complete; a mistake in what was asked; runs that remain, or a full store."""

File = Annotated[Path, typer.Argument(help="a TOML file, such as those in notebooks/experiments")]
Folder = Annotated[str, typer.Argument(help="where a comparison or sweep was stored")]
Changes = Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, instead of what the file says")]
Place = Annotated[str | None, typer.Option(help="folder or address of the runs; without it they are not kept")]
Out = Annotated[Path | None, typer.Option(help="folder for table.md, table.tex and plot.png")]
Jobs = Annotated[int, typer.Option(help="processes, -1 for one per core")]
Engine = Annotated[str, typer.Option(help="'local', or the address of a Dask scheduler")]
Resume = Annotated[bool, typer.Option("--resume", help="go on in a store that already has runs")]
Retry = Annotated[bool, typer.Option("--retry", help="do runs again that did not complete; implies --resume")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="tell how many runs, how long and how many bytes, and stop")]


def run(
    file: File,
    change: Changes = None,
    store: Annotated[Path | None, typer.Option(help="new folder for the solution; `ct.load` reads it")] = None,
    seed: Annotated[int, typer.Option(min=0, help="decides split, order and initial weights")] = 0,
    dry_run: DryRun = False,
) -> None:
    """Run the one network that a file describes, and save its solution."""
    with mistakes():
        experiment, _ = read(file, change or ())
        trial = experiment.trial(seed)
        if dry_run:
            batch = plan_comparison({"network": trial}, common(experiment), [seed], "t", None)
            typer.echo(estimate(batch.jobs, Options(keep=True)))
            return
        if store is not None and store.exists():
            raise ConfigError(f"--store {store} exists: choose another folder, or remove it first")
        sol = simulate(trial.network, trial.stimulus, trial.solver or "auto", seed=seed, progress=True)  # type: ignore[arg-type]
        measured = as_measures(experiment.metrics)(trial.network, sol.final, common_test(trial), trial.solver)
        for name, value in measured.items():
            typer.echo(f"{name} {value:.4f}")
        typer.echo(sol.message)
        if store is not None:
            typer.echo(f"wrote {sol.save(store)}")
    raise typer.Exit(0 if sol.status.ok else SOME_FAILED)


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
    """Compare the rules that a file describes: same data, same seeds, same budget."""
    with mistakes():
        check_processes(n_jobs)
        experiment, raw = read(file, change or ())
        if experiment.compare is None:
            raise ConfigError(f"{file}: compare: is missing; a comparison needs [compare.rules.NAME] tables")
        load = functools.cache(DataPart.load)
        trials = {name: trial_of(setup, load) for name, setup in setups(raw, str(file)).items()}
        asked = experiment.compare
        batch = plan_comparison(trials, common(experiment), as_seeds(experiment.seeds), asked.test, asked.reference)
        code = carry_out(batch, experiment, store, out, (n_jobs, engine, resume, retry), dry_run)
    raise typer.Exit(code)


def sweep(
    file: File,
    change: Changes = None,
    store: Place = None,
    out: Out = None,
    n_jobs: Jobs = -1,
    engine: Engine = "local",
    resume: Resume = False,
    retry: Retry = False,
    dry_run: DryRun = False,
) -> None:
    """Run every setting of a sweep that a file describes."""
    with mistakes():
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
    out: Annotated[Path, typer.Option(help="the picture to write")] = Path("plot.png"),
    metric: Annotated[str | None, typer.Option(help="default the first one")] = None,
    x: Annotated[str | None, typer.Option(help="as in Runs.plot")] = None,
) -> None:
    """Draw what is in a store, whether it is finished or not."""
    with mistakes():
        picture(Runs.load(store), out, metric, x)
        typer.echo(f"wrote {out}")


def status(store: Folder) -> None:
    """Tell how many runs of a store are done, running, failed and left, and how long the rest will take."""
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
    return Common(None, "auto", None, measures, every, budget, stop)


def common_test(trial: Trial) -> Any:
    """The test data of a trial."""
    return as_test(trial.test, trial.network, trial.stimulus)  # type: ignore[arg-type]


def trial_of(setup: Setup, load: Any) -> Trial:
    """A rule of a comparison: its network, and its data for every seed."""
    first = setup.trial(0, load)

    def shown(seed: int) -> Any:
        return setup.trial(seed, load).stimulus

    def test(seed: int) -> Dataset:
        return load(setup.data, seed)  # type: ignore[no-any-return]

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
    options = Options(open_store(store), engine, n_jobs, retry, progress=True)
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
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "table.md").write_text(runs.to_markdown() + "\n")
        (out / "table.tex").write_text(runs.to_latex())
        picture(runs, out / "plot.png")
        typer.echo(f"wrote {', '.join(str(out / name) for name in ('table.md', 'table.tex', 'plot.png'))}")
    return 0 if runs.runs["status"].isin(COUNTED).all() else SOME_FAILED


def picture(runs: Runs, path: Path, metric: str | None = None, x: str | None = None) -> None:
    """Write the plot of runs."""
    mpl.use("Agg")
    figure = runs.plot(metric, x=x).get_figure(root=True)
    if figure is not None:
        figure.savefig(path, dpi=150)
        plt.close(figure)


@contextmanager
def mistakes() -> Iterator[None]:
    """Tell in one sentence what went wrong, with an exit code that scripts can use."""
    try:
        yield
    except (StoreError, WorkerLost) as error:
        typer.echo(f"ctsigprop: {error}", err=True)
        raise typer.Exit(UNFINISHED) from None
    except (ValueError, TypeError, OSError, ImportError) as error:
        typer.echo(f"ctsigprop: {error}", err=True)
        raise typer.Exit(MISTAKE) from None
    except KeyboardInterrupt:
        typer.echo("ctsigprop: interrupted; what is in the store is whole", err=True)
        raise typer.Exit(130) from None
