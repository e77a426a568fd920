"""The command line: the demo learns and writes its pictures, info prints what the tables hold, mistakes are told."""

from __future__ import annotations

import inspect
import re
from importlib.metadata import entry_points
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from typer.testing import CliRunner

import ctsigprop
from ctsigprop.cli import TABLES, app

PICTURES = {"weights.png", "learning.png", "receptive_fields.png"}


class Outcome(NamedTuple):
    """What the shell sees."""

    exit_code: int
    output: str
    exception: BaseException | None


def call(*words: object) -> Outcome:
    mpl.use("Agg")
    settings = {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    result = CliRunner().invoke(app, [str(word) for word in words], env=settings)
    return Outcome(result.exit_code, result.output, result.exception)


def refused(result: Outcome, *words: str) -> None:
    """A non-zero exit with one message that has all the words, and no traceback."""
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)
    text = " ".join(re.sub(r"[│╭╮╰╯─]", " ", result.output).split())
    for word in words:
        assert word in text
    assert "Traceback" not in text


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    out = tmp_path_factory.mktemp("demo") / "new" / "folder"
    return out, call("demo", "--out", out, "--epochs", 2)


def test_the_demo_writes_three_pictures_that_are_not_blank(demo: tuple[Path, Outcome]) -> None:
    out, result = demo
    assert result.exit_code == 0, result.output
    assert {path.name for path in out.iterdir()} == PICTURES
    for name in PICTURES:
        image = np.asarray(plt.imread(out / name))
        assert image.var() > 1e-3
        assert f"wrote {out / name}" in result.output


def test_the_demo_prints_a_table_in_which_both_layers_have_learned(demo: tuple[Path, Outcome]) -> None:
    _, result = demo
    rows = re.findall(r"^(layer \d) +(0\.\d+) +(0\.\d+)", result.output, flags=re.MULTILINE)
    assert [name for name, _, _ in rows] == ["layer 1", "layer 2"]
    for _, before, after in rows:
        assert float(after) > float(before) + 0.4
    assert re.search(r"evaluations +wall time", result.output)
    assert "The simulation reached its end." in result.output


def test_the_demo_closes_its_figures(demo: tuple[Path, Outcome]) -> None:
    assert demo[1].exit_code == 0
    assert plt.get_fignums() == []


def test_the_seed_decides_what_the_demo_finds(tmp_path: Path) -> None:
    def table(seed: int, name: str) -> list[str]:
        return re.findall(
            r"^layer .*?0\.\d+ +0\.\d+",
            call("demo", "--out", tmp_path / name, "--epochs", 1, "--seed", seed).output,
            re.M,
        )

    first, again, other = table(1, "a"), table(1, "b"), table(2, "c")
    assert len(first) == 2
    assert first == again
    assert first != other


@pytest.mark.parametrize("kind", ["a file", "below a file"])
def test_a_folder_that_cannot_be_written_to_is_told_before_anything_runs(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    result = call("demo", "--out", file if kind == "a file" else file / "demo", "--epochs", 1)
    refused(result, "--out", "cannot be written to")
    assert "Digits:" not in result.output
    assert file.read_text() == "mine"


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no folder here that exists and takes no file")
def test_a_folder_that_takes_no_file_is_told_before_anything_runs() -> None:
    result = call("demo", "--out", "/proc", "--epochs", 1)
    refused(result, "--out", "/proc cannot be written to")
    assert "layer 1" not in result.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("demo", "--epochs", 0), ("--epochs",)),
        (("demo", "--epochs", "many"), ("--epochs",)),
        (("demo", "--seed", -1), ("--seed",)),
        (("demo", "--ouput", "x"), ("No such option", "--ouput")),
        (("dmo",), ("No such command", "dmo")),
        (("info", "neurones"), ("must be", *TABLES, "neurones")),
    ],
)
def test_mistakes_at_the_command_line_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[object, ...], said: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(call(*words), *said)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", TABLES)
def test_info_lists_every_name_with_its_first_line(what: str) -> None:
    result = call("info", what)
    assert result.exit_code == 0
    lines = result.output.strip().splitlines()
    assert len(lines) == len(TABLES[what])
    for line, (name, cls) in zip(lines, TABLES[what].items(), strict=True):
        assert line.split()[0] == name
        assert (inspect.getdoc(cls) or "").splitlines()[0] in line


def test_info_alone_lists_the_rules() -> None:
    assert call("info").output == call("info", "rules").output


@pytest.mark.parametrize(("what", "name"), [(what, name) for what, table in TABLES.items() for name in table])
def test_info_prints_the_page_of_one(what: str, name: str) -> None:
    result = call("info", what, name)
    cls = TABLES[what][name]
    assert result.exit_code == 0
    assert result.output.startswith(cls.__name__)
    assert (inspect.getdoc(cls) or "").strip() in result.output
    for parameter in inspect.signature(cls).parameters:
        assert parameter in result.output


@pytest.mark.parametrize(("what", "name", "near"), [("rules", "ojja", "oja"), ("solvers", "dopri55", "dopri5")])
def test_info_answers_an_unknown_name_with_the_nearest(what: str, name: str, near: str) -> None:
    refused(call("info", what, name), name, "did you mean", near)


def test_the_version_is_told() -> None:
    result = call("--version")
    assert result.exit_code == 0
    assert result.output == f"ctsigprop {ctsigprop.__version__}\n"


def test_info_lists_the_keys_of_a_file() -> None:
    result = call("info", "keys")
    assert result.exit_code == 0
    assert "[presentations]" in result.output
    assert "batch_size: integer; default 64" in result.output


@pytest.mark.parametrize(
    "command", [command.callback.__name__ for command in app.registered_commands if command.callback]
)
def test_every_option_has_a_help_text_and_none_is_lost_as_markup(command: str) -> None:
    text = " ".join(re.sub(r"[│╭╮╰╯─]", " ", call(command, "--help").output).split())
    (callback,) = (c.callback for c in app.registered_commands if c.callback and c.callback.__name__ == command)
    doc = " ".join((inspect.getdoc(callback) or "").split("\n\n")[0].split())
    assert doc in text
    for parameter in inspect.signature(callback, eval_str=True).parameters.values():
        (option,) = parameter.annotation.__metadata__
        assert " ".join(option.help.split()) in text


def test_help_names_every_command() -> None:
    result = call("--help")
    assert result.exit_code == 0
    for command in app.registered_commands:
        assert command.callback is not None
        assert (command.name or command.callback.__name__) in result.output


def test_the_command_is_installed_under_its_name() -> None:
    (script,) = (point for point in entry_points(group="console_scripts") if point.name == "ctsigprop")
    assert script.value == "ctsigprop.cli:app"
    assert ctsigprop.__version__
