"""The README's Python examples run as they are printed; its shell commands are known to the Makefile or the CLI."""

import re
import warnings
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
from typer.testing import CliRunner

from ctsigprop.cli import app
from ctsigprop.rules.table import RULES

README = (Path(__file__).parents[1] / "README.md").read_text()
MAKEFILE = (Path(__file__).parents[1] / "Makefile").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_python_examples_run_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    norms = []
    with warnings.catch_warnings(), mpl.rc_context({"backend": "agg"}):
        for block in blocks("python"):
            exec(compile(block, "README.md", "exec"), names)
            assert names.get("sol") is None or names["sol"].status.ok
            norms += [names["sol"].dataset.norm[-1]] if "norm" in getattr(names.get("sol"), "dataset", {}) else []
    plt.close("all")
    score = float(capsys.readouterr().out.splitlines()[0].split()[-1])
    assert score >= 0.95
    assert len(norms) >= 1
    assert min(norms) > 0
    assert all(member.status.ok for member in names["members"])
    assert (names["runs"].runs["status"] == "completed").all()
    assert (names["runs"].runs["rhs_evaluations"] == 5 * 23).all()  # a solver that suits: one for each presentation


def test_shell_commands_exist() -> None:
    commands = [line.split("#")[0].strip() for block in blocks("bash") for line in block.splitlines() if line.strip()]
    assert commands
    for command in commands:
        program, *words = command.split()
        if program == "make":
            assert re.search(rf"^{words[0]}:", MAKEFILE, flags=re.MULTILINE), command
        else:
            assert program == "ctsigprop", command
            assert CliRunner().invoke(app, words).exit_code == 0, command


def test_first_screen_names_both_commands_before_anything_else_to_type() -> None:
    assert re.findall(r"^make \w+", README, flags=re.MULTILINE)[:2] == ["make demo", "make test"]


def test_table_of_rules_is_the_registry_and_says_what_each_class_says() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\|([\w ]*)\|$", README.split("## Rules")[1], flags=re.MULTILINE)
    assert sorted(name for name, _ in rows) == sorted(RULES)
    for name, said in rows:
        if said.strip() in ("yes", "no"):
            assert RULES[name]().bounded == (said.strip() == "yes"), name
