"""The keys of a configuration file: the list that is printed and published is that of the models, and true."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from ctsigprop.batch.config import CompareSection, Experiment, StopSection, SweepSection, checked, read
from ctsigprop.batch.keys import as_markdown, as_text, keys
from ctsigprop.batch.parts import DataPart, NetworkPart, ShownPart

ROOT = Path(__file__).parents[2]
TABLES: dict[str, Any] = {
    "": Experiment,
    "data": DataPart,
    "presentations": ShownPart,
    "network": NetworkPart,
    "compare": CompareSection,
    "sweep": SweepSection,
    "stop": StopSection,
}


def test_every_key_of_every_table_is_listed_with_its_meaning() -> None:
    found = {(key.table, key.name) for key in keys()}
    wanted = {(table, name) for table, model in TABLES.items() for name in model.model_fields}
    assert found == wanted - {("", table) for table in TABLES}
    assert all(len(key.meaning) > 10 for key in keys())
    assert len(keys()) == len(found)


@pytest.mark.parametrize("key", keys(), ids=lambda key: f"{key.table}.{key.name}")
def test_a_default_that_is_told_is_the_one_that_is_taken(key: Any) -> None:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    field = TABLES[key.table].model_fields[key.name]
    if key.default == "required":
        assert field.is_required()
    elif key.default == "absent":
        assert field.default is None
    else:
        raw = tomllib.loads(
            f"[{key.table}]\n{key.name} = {key.default}" if key.table else f"{key.name} = {key.default}"
        )
        if key.table in ("compare", "sweep", "stop"):
            assert raw[key.table][key.name] == field.default
            return
        bare = {"solver": {"name": "euler", "dt": 1.0}} if key.name != "solver" else {}
        assert checked(Experiment, {**bare, **raw}, "here") == checked(Experiment, bare, "here")


def test_every_name_that_a_part_may_have_is_told() -> None:
    told = {key.name: key.meaning for key in keys()}
    assert "adaptive_lif, if, izhikevich, lif, rate, theta" in told["neuron"]
    assert "poisson" in told["encoder"]
    assert "kolen_pollack" in told["signal"]
    assert "oja_subspace" in told["rule"]
    assert "factored_dopri5" in told["solver"]


def test_the_page_of_the_site_has_every_key() -> None:
    text = (ROOT / "docs" / "howto" / "configuration.md").read_text()
    assert "<!-- keys -->" in text
    assert 'markdown.replace("<!-- keys -->", keys_as_markdown())' in (ROOT / "docs" / "hooks.py").read_text()
    shown = as_markdown()
    for key in keys():
        assert f"| `{key.name}` |" in shown
    assert shown.count("\n## ") == len(TABLES) - 1
    assert "[presentations]\n  batch_size: integer; default 64\n" in as_text()


def test_the_file_on_the_page_can_be_read(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "howto" / "configuration.md").read_text()
    path = tmp_path / "file.toml"
    path.write_text(text.partition("```toml\n")[2].partition("```")[0])
    experiment, _ = read(path)
    assert experiment.seeds == 5
    assert experiment.sweep is not None
