import math
from types import SimpleNamespace
from typing import cast

import pandas as pd
import pytest

from hsac.errors import InputError
from hsac.files import write_json
from hsac.report import frozen_rules, table_sources
from hsac.report.answer import Answer
from hsac.report.frozen_rules import displayed, ends, grid_step, hypergradients, write_rule_tables
from hsac.report.recompute import _row_command

FROZEN = {
    "curvatures": {"low": 0.01, "high": 1.0, "points": 3},
    "problems": {"clean": {"setting": "classification", "features": "pc", "dims": [2], "seeds": 2}},
    "rules": {"problems": ["clean"]},
}


def gradient(seed, c, difference, hypergradient, solver="cg"):
    row = {"objective": "gap", "solver": solver, "seed": seed, "c": c}
    return row | {"difference": difference, "hypergradient": hypergradient}


GRADIENTS = [
    gradient(0, 0.1, 1.0, 2.0),
    gradient(0, 1.0, -2.0, -4.0),
    gradient(1, 0.1, 3.0, 0.0),
    gradient(1, 1.0, 0.0, 4.0),
    gradient(0, 0.1, 1.0, -1.0, "none"),
]
ENDS = [
    {"objective": "gap", "setting": "exact", "start": 0.1, "seed": s, "end": end, "minimiser": 0.1}
    for s, end in ((0, 0.1), (1, 0.9), (2, 0.001))
]


@pytest.fixture
def results(tmp_path):
    write_json(tmp_path / "settings.json", {"frozen": FROZEN})
    for kind, rows in (("hypergradients", GRADIENTS), ("ends", ENDS)):
        (tmp_path / "frozen" / kind).mkdir(parents=True)
        pd.DataFrame(rows).to_csv(tmp_path / "frozen" / kind / "clean_2.csv", index=False)
    return tmp_path


def test_cosine_and_sign_are_counted(results):
    found = hypergradients(frozen_rules.read(results, "hypergradients"))
    # seed 0 is parallel, seed 1 orthogonal
    assert found["cosine"].tolist() == pytest.approx([0.5, -1.0])
    assert found["same_sign_percent"].tolist() == [50.0, 0.0]
    assert found["problems"].tolist() == [1, 1]


def test_ends_within_a_step_arrive(results):
    assert grid_step(results) == pytest.approx(10)
    found = ends(frozen_rules.read(results, "ends"), 10)
    assert found["arrived_percent"].tolist() == pytest.approx([200 / 3])
    assert found["decades"].tolist() == pytest.approx([math.log10(9)])


def test_nothing_moves_has_no_cosine():
    found = hypergradients(pd.DataFrame([gradient(0, 1.0, 0.0, 0.0)]).assign(problem="p", dim=2))
    assert math.isnan(found["cosine"].item())
    assert "–" in displayed(found).iloc[0].tolist()


def test_tables_are_written(results, tmp_path):
    write_rule_tables(results, tmp_path / "tables")
    text = (tmp_path / "tables" / "ends_on_heads.md").read_text()
    assert "as in the theory" in text
    assert (tmp_path / "tables" / "hypergradients_on_heads.tex").is_file()


def test_no_rules_no_tables(tmp_path):
    write_json(tmp_path / "settings.json", {"frozen": {**FROZEN, "rules": None}})
    write_rule_tables(tmp_path, tmp_path / "tables")
    assert not (tmp_path / "tables").exists()


def test_missing_rows_are_named(results):
    (results / "frozen" / "ends" / "clean_2.csv").unlink()
    with pytest.raises(InputError, match=r"clean_2\.csv is missing"):
        frozen_rules.read(results, "ends")


@pytest.mark.parametrize("name", frozen_rules.KINDS)
def test_every_column_has_an_origin(results, name):
    made = table_sources.TABLES[name]
    seen = cast(table_sources.Results, SimpleNamespace(root=results))
    numbers = made.numbers(seen)
    assert all(made.origin(column) for column in numbers.columns)
    assert set(made.headings(numbers).values()) == set(numbers.columns)
    rows = made.roles(seen, {})["rows"]
    assert rows == [f"frozen/{frozen_rules.KINDS[name]}/clean_2.csv"]
    command = _row_command(cast(Answer, SimpleNamespace(root=results)), rows[0])
    assert "hsac job rules clean --dim 2" in command
    assert command.count("--ends") == command.count("--output") == 1
    option = "--ends" if name == frozen_rules.ENDS else "--output"
    assert f'{option} "$scratch"/{rows[0]}' in command
