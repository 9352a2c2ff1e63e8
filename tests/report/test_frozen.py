"""Regret on frozen features: a planted landscape, intervals, Holm, and files that do not fit."""

import math
from itertools import product
from types import SimpleNamespace
from typing import cast

import numpy as np
import pandas as pd
import pytest
from landscapes import SETTINGS, write_study

from hsac.errors import InputError
from hsac.files import read_json, write_json
from hsac.report import frozen, table_sources
from hsac.report.answer import Answer
from hsac.report.frozen import (
    answer,
    comparisons,
    comparisons_displayed,
    displayed,
    landscape_file,
    problems,
    read,
    readings,
    regrets,
    table,
    words,
    write_regret_tables,
)
from hsac.report.recompute import _row_command
from hsac.report.statistics import holm

C = (0.01, 0.1, 1.0, 4.0)
PLANTED = {
    "train_loss": (0.4, 0.3, 0.2, 0.1),
    "validation_nll": (0.9, 0.7, 0.8, 1.0),
    "validation_tempered": (0.9, 0.8, 0.7, 1.0),
    "test_nll": (0.8, 0.5, 0.6, 0.9),
    "test_error": (0.30, 0.20, 0.25, 0.40),
    "gap@0.05": (0.0, 0.1, 0.2, 0.3),
    # a tie goes to the lower c
    "mean@0.05": (0.3, 0.1, 0.1, 0.2),
    # what is unknown at a c is not chosen
    "range@0.05": (math.nan, 0.2, 0.1, 0.3),
    "certificate": (math.nan,) * 4,
}
# In points of test error, worked out by hand.
EXPECTED = {
    "gap@0.05": 10.0,
    "mean@0.05": 0.0,
    "range@0.05": 5.0,
    "train_loss": 20.0,
    "validation": 0.0,
    "validation_tempered": 5.0,
    "certificate": math.nan,
    "c=1": 5.0,
    "c=0.1": 0.0,
    "nearly_flat": 10.0,
    "highest_c": 20.0,
    "random_c": 8.75,
}


def planted(problem="a", setting="noisy", dim=2, seeds=3, **changes) -> pd.DataFrame:
    """Rows of a landscape whose regrets are known; `changes` replace columns."""
    columns = {name: values for name, values in (PLANTED | changes).items()}
    rows = pd.DataFrame({"c": C, "solved": True} | columns)
    made = pd.concat([rows.assign(seed=seed) for seed in range(seeds)], ignore_index=True)
    return made.assign(problem=problem, setting=setting, dim=dim)


def test_planted_regrets_are_found():
    found = regrets(planted()).matrix("noisy", "error")
    assert set(found.columns) == set(EXPECTED)
    for chooser, expected in EXPECTED.items():
        assert found[chooser].to_numpy() == pytest.approx([expected] * 3, nan_ok=True), chooser
    nll = regrets(planted()).matrix("all", "nll")
    assert nll["gap@0.05"].to_numpy() == pytest.approx([30.0] * 3)
    assert nll["random_c"].to_numpy() == pytest.approx([20.0] * 3)


def test_order_of_rows_is_free():
    shuffled = planted().sample(frac=1, random_state=0)
    assert regrets(shuffled).rows.equals(regrets(planted()).rows)


def test_oracle_has_no_regret():
    numbers = table(regrets(planted()))
    oracle = numbers[numbers["chooser"] == "oracle"].iloc[0]
    for name in ("all_error", "all_nll", "noisy_error", "all_error_low", "all_error_high"):
        assert oracle[name] == 0
    assert numbers["chooser"].iloc[0] == "oracle"
    assert (numbers["all_error"].dropna() >= 0).all()
    assert displayed(numbers).iloc[0, :2].tolist() == ["oracle", "0"]


def test_dimensions_of_problem_are_averaged():
    """Two dimensions of a problem are one problem: they share its draws."""
    other = planted(dim=16, test_error=(0.2, 0.2, 0.2, 0.2))
    found = regrets(pd.concat([planted(), other], ignore_index=True))
    matrix = found.matrix("all", "error")
    assert len(matrix) == 3
    assert matrix["gap@0.05"].to_numpy() == pytest.approx([5.0] * 3)
    assert table(found)["all_error_problems"].max() == 1


def test_problems_count_alike():
    more = planted("b", seeds=30, test_error=(0.2, 0.2, 0.2, 0.2))
    found = regrets(pd.concat([planted(), more], ignore_index=True))
    numbers = table(found).set_index("chooser")
    assert numbers.loc["gap@0.05", "all_error"] == pytest.approx(5.0)
    assert numbers.loc["gap@0.05", "all_error_problems"] == 2


def test_settings_are_apart():
    clean = planted("b", "classification", test_error=(0.2, 0.3, 0.3, 0.3))
    found = regrets(pd.concat([planted(), clean], ignore_index=True))
    assert found.groups == ["all", "classification", "noisy"]
    row = table(found).set_index("chooser").loc["gap@0.05"]
    assert row["classification_error"] == pytest.approx(0)
    assert row["noisy_error"] == pytest.approx(10)
    assert row["all_error"] == pytest.approx(5)


def test_unsolved_heads_are_said():
    rows = planted()
    rows.loc[5, "solved"] = False
    found = regrets(rows)
    assert (found.unsolved, found.solved) == (1, 2)
    assert "In 1 of 3 landscapes" in found.note
    assert len(found.matrix("all", "error")) == 3
    assert regrets(planted()).note == ""


def test_unknown_certificates_leave_problems_out():
    """A chooser's mean is over the problems in which it could choose."""
    known = planted("b", certificate=(0.1, 0.2, 0.3, 0.4))
    found = regrets(pd.concat([planted(), known], ignore_index=True))
    row = table(found).set_index("chooser").loc["certificate"]
    assert row["all_error"] == pytest.approx(10)
    assert row["all_error_problems"] == 1
    nowhere = table(regrets(planted())).set_index("chooser").loc["certificate"]
    assert math.isnan(nowhere["all_error"])
    assert nowhere["all_error_problems"] == 0


def test_comparisons_are_rival_less_reading():
    found = comparisons(regrets(pd.concat([planted(), planted("b")], ignore_index=True)))
    rows = found.set_index(["reading", "rival", "group", "measure"])
    row = rows.loc[("gap@0.05", "train_loss", "all", "error")]
    assert row["difference"] == pytest.approx(10)
    assert row["problems"] == 2
    assert rows.loc[("gap@0.05", "nearly_flat", "all", "error"), "p"] == 1
    assert rows.loc[("range@0.05", "validation", "noisy", "nll"), "difference"] == pytest.approx(
        -10
    )
    assert comparisons_displayed(found)["Rival"].iloc[0] == "c = 1"


def test_one_problem_has_no_p():
    found = comparisons(regrets(planted()))
    assert found["p"].isna().all()
    assert found["p_holm"].isna().all()


def test_holm_is_over_table(tmp_path):
    found = comparisons(read(write_study(tmp_path, SETTINGS[:2], seeds=3, points=5)))
    assert len(found) == 16 * 5 * 3 * 2
    assert found["p_holm"].to_numpy() == pytest.approx(holm(found["p"]), nan_ok=True)
    assert (found["p_holm"] >= found["p"]).all()


def test_sentences_say_what_tables_hold(tmp_path):
    found = read(write_study(tmp_path, SETTINGS[:2], seeds=4, points=9))
    numbers, compared = table(found), comparisons(found)
    first, second, third = answer(numbers, compared)
    assert first.startswith("Over 4 problems the choice with the least mean regret is validation")
    own = compared.query("group == 'all' and measure == 'error' and rival == 'nearly_flat'")
    better = int(((own["p_holm"] < 0.05) & (own["difference"] > 0)).sum())
    assert f"{better} have significantly less than nearly flat (lowest c)" in second
    best = next(name for name in numbers["chooser"] if "@" in name)
    assert words(best) in third
    assert "more regret in test error" in third
    alone = regrets(planted())
    assert "A single problem cannot say" in answer(table(alone), comparisons(alone))[1]


def test_tables_are_written(tmp_path):
    write_study(tmp_path, ("classification", "few_shot"), each=1, seeds=3, points=5)
    write_regret_tables(tmp_path, tmp_path / "tables")
    names = [f"{n}.{k}" for n in ("regret", "regret_comparisons") for k in ("csv", "md", "tex")]
    assert sorted(path.name for path in (tmp_path / "tables").iterdir()) == sorted(names)
    numbers = pd.read_csv(tmp_path / "tables" / "regret.csv")
    assert len(displayed(numbers)) == 16 + 10 + 1
    assert list(displayed(numbers).columns)[:2] == ["Chosen by", "All: test error (points)"]
    note = (tmp_path / "tables" / "regret.md").read_text()
    assert frozen.NOTE in note


def test_nothing_without_frozen_features(tmp_path):
    assert problems(tmp_path) == []
    write_json(tmp_path / "settings.json", {"experiments": {}, "frozen": None})
    assert read(tmp_path) is None
    write_regret_tables(tmp_path, tmp_path / "tables")
    assert not (tmp_path / "tables").exists()


def test_readings_are_columns_with_radius():
    assert readings(PLANTED) == ["gap@0.05", "mean@0.05", "range@0.05"]
    assert words("gap@0.05") == "gap, ρ = 0.05"
    assert words("new_one@0.3") == "new one, ρ = 0.3"


def cut(text: str, kind: str) -> str:
    """A landscape's text with a fault in it."""
    lines = text.splitlines(keepends=True)
    if kind == "row":
        return "".join(lines[:-1])
    if kind == "seed":
        return "".join(lines[:-5])
    if kind == "line":
        return "".join([*lines[:-1], lines[-1][:30]])
    if kind == "column":
        return text.replace("test_nll", "other", 1)
    if kind == "reading":
        return text.replace("@", "_")
    return "".join([*lines[:-1], lines[1]])  # twice the same row


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("row", "found 14 rows of 3 seeds and 5 curvatures, expected 3 seeds × 5 curvatures"),
        ("seed", "found 10 rows of 2 seeds and 5 curvatures, expected 3 seeds × 5 curvatures"),
        ("line", "row 15 lacks a finite number"),
        ("column", "found no column test_nll"),
        ("reading", "found no reading"),
        ("twice", "found 15 rows of 3 seeds and 5 curvatures"),
    ],
)
def test_cut_landscape_is_one_line(tmp_path, kind, said):
    write_study(tmp_path, ("noisy",), each=1, seeds=3, points=5)
    path = landscape_file(tmp_path, "noisy_0", 16)
    path.write_text(cut(path.read_text(), kind))
    with pytest.raises(InputError) as error:
        read(tmp_path)
    assert said in str(error.value)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_missing_landscape_is_one_line(tmp_path):
    write_study(tmp_path, ("noisy",), each=1, seeds=2, points=5)
    path = landscape_file(tmp_path, "noisy_0", 2)
    path.unlink()
    with pytest.raises(InputError, match=r"noisy_0_2\.csv is missing"):
        read(tmp_path)


def test_problems_come_from_settings(tmp_path):
    write_study(tmp_path, ("few_shot",), each=1, seeds=2, points=5)
    (found,) = problems(tmp_path)
    assert (found.name, found.setting, found.dims) == ("few_shot_0", "few_shot", (2, 16))
    assert (found.features, found.seeds, found.points) == ("f", 2, 5)
    assert read_json(tmp_path / "settings.json")["frozen"]["problems"]


def test_intervals_hold_the_mean(tmp_path):
    """At the least problems a setting has, the intervals hold the true regret as often as said."""
    rng = np.random.default_rng(0)
    index = pd.MultiIndex.from_product([range(5), range(6)], names=["problem", "seed"])
    between = rng.normal(0, 1.0, (5, 400)).repeat(6, axis=0)
    values = pd.DataFrame(2 + between + rng.normal(0, 1.5, (30, 400)), index=index)
    found = frozen.means_of(values)
    held = ((found["low"] <= 2) & (found["high"] >= 2)).mean()
    assert 0.92 <= held <= 0.99
    assert 0.02 <= (frozen.means_of(values - 2)["p"] < 0.05).mean() <= 0.08


def results_of(root) -> table_sources.Results:
    """A results folder for the tables' sources; its study is not asked for anything."""
    return cast(table_sources.Results, SimpleNamespace(root=root))


def test_rows_come_from_their_landscapes(tmp_path):
    results = results_of(write_study(tmp_path, ("noisy", "few_shot"), each=1, seeds=2, points=5))
    roles = table_sources.TABLES["regret"].roles(results, {"chooser": "gap@0.05"})
    # Settings are written by name.
    places = product(("few_shot", "noisy"), (2, 16))
    files = [f"frozen/landscape/{name}_0_{dim}.csv" for name, dim in places]
    assert roles == {"rows": files}
    made = table_sources.TABLES["regret_comparisons"]
    assert made.roles(results, {"group": "few_shot"}) == {"rows": files[:2]}
    numbers = made.numbers(results)
    assert all(made.origin(column) for column in numbers.columns)
    assert all(map(table_sources.TABLES["regret"].origin, table(read(tmp_path)).columns))


def test_command_makes_landscape_again(tmp_path):
    write_study(tmp_path, ("noisy",), each=1, seeds=2, points=5)
    answer_of = cast(Answer, SimpleNamespace(root=tmp_path))
    line = _row_command(answer_of, "frozen/landscape/noisy_0_16.csv")
    assert line.startswith("hsac job landscape noisy_0 --dim 16 --settings ")
    assert "frozen/features/f.npz" in line
    assert line.endswith('--output "$scratch"/frozen/landscape/noisy_0_16.csv')
