"""The tables as files: all methods, units, failures."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_records import ORDER, REFERENCES, synthetic_results

from hsac.report.columns import EXPERIMENT, SHOTS, THIRDS, headings
from hsac.report.gather import RUN_SCHEMA
from hsac.report.tables import displayed, experiment_table, overview_labels, write_tables
from hsac.report.theory import sweep

HEADINGS = headings(EXPERIMENT)


@pytest.fixture(scope="module")
def folder(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tables")
    order = {e: ORDER[e] for e in ("digits", "glyphs_long_tailed")}
    write_tables(results / "runs.parquet", order, REFERENCES, out)
    return out


def test_every_table_comes_in_three_formats(folder):
    names = {"digits", "glyphs_long_tailed", "overview", "failures"}
    assert {path.name for path in folder.iterdir()} == {
        f"{n}.{kind}" for n in names for kind in ("csv", "md", "tex")
    }


def test_tables_keep_the_order_given(folder):
    """Tables hold every method in the order given."""
    table = pd.read_csv(folder / "digits.csv")
    assert table["method"].tolist() == ORDER["digits"]
    assert table.loc[table["reference"], "method"].tolist() == [REFERENCES["digits"]]
    for kind in ("md", "tex"):
        text = (folder / f"digits.{kind}").read_text()
        assert all(method in text.replace("\\_", "_") for method in ORDER["digits"])
        assert "as reconstructed" in text
        assert "Selection was on validation" in text


def test_numbers_agree_with_the_runs(folder, results):
    runs = pd.read_parquet(results / "runs.parquet").query(
        "experiment == 'digits' and method == 'sgd+hsac'"
    )
    row = pd.read_csv(folder / "digits.csv").set_index("method").loc["sgd+hsac"]
    assert row["test_accuracy_percent"] == pytest.approx(
        100 * runs["selected_test_accuracy"].mean()
    )
    assert row["oracle_test_accuracy_percent"] == pytest.approx(
        100 * runs["oracle_test_accuracy"].mean()
    )
    assert row["curvature"] == pytest.approx(runs["curvature"].median())


def test_diverged_runs_are_counted_and_listed(folder):
    row = pd.read_csv(folder / "digits.csv").set_index("method").loc["sgd+fixed@1"]
    assert (row["n_ok"], row["n"]) == (2, 4)
    assert "| 2 / 4 |" in (folder / "digits.md").read_text()
    failures = pd.read_csv(folder / "failures.csv")
    assert failures[["method", "seed", "reason"]].to_numpy().tolist() == [
        ["sgd+fixed@1", 1, "loss not finite at step 12"],
        ["sgd+fixed@1", 3, "loss not finite at step 12"],
    ]


def test_means_over_survivors_are_marked(folder, results, tmp_path):
    """A mean or difference without all runs says so in its row and under its table."""
    table = pd.read_csv(folder / "digits.csv").set_index("method")
    assert table["pairs_lost"].dropna().to_dict() == {"sgd+fixed@1": 2.0}
    text = (folder / "digits.md").read_text()
    (row,) = [line for line in text.splitlines() if line.startswith("| sgd+fixed@1 ")]
    assert "] (2 pairs lost) |" in row
    note = "Runs that did not finish are in no mean and no comparison, which can flatter a method: "
    assert f"{note}sgd+fixed@1 2 of 4 (2 diverged)." in text
    overview = (folder / "overview.md").read_text()
    assert f"{note}digits sgd+fixed@1 2 of 4 (2 diverged)." in overview
    # Another experiment, all of whose runs finished.
    assert note not in (folder / "glyphs_long_tailed.md").read_text()
    assert "pairs_lost" not in pd.read_csv(folder / "glyphs_long_tailed.csv")
    # Where the reference lost runs, every difference did.
    references = REFERENCES | {"digits": "sgd+fixed@1"}
    write_tables(results / "runs.parquet", {"digits": ORDER["digits"]}, references, tmp_path)
    lost = pd.read_csv(tmp_path / "digits.csv").set_index("method")["pairs_lost"]
    assert lost.drop("sgd+fixed@1").tolist() == [2.0] * (len(ORDER["digits"]) - 1)
    assert np.isnan(lost["sgd+fixed@1"])


def test_extra_columns_only_where_measured(folder):
    """Extra columns only where they are measured."""
    assert "tail_accuracy_percent" in pd.read_csv(folder / "glyphs_long_tailed.csv")
    assert not {"tail_accuracy_percent", "memorisation_percent"} & set(
        pd.read_csv(folder / "digits.csv")
    )


def test_no_failures_is_said(results, tmp_path):
    runs = pd.read_parquet(results / "runs.parquet")
    runs[runs["status"] == "ok"].to_parquet(tmp_path / "runs.parquet")
    write_tables(tmp_path / "runs.parquet", {}, REFERENCES, tmp_path / "tables")
    assert "| none |" in (tmp_path / "tables" / "failures.md").read_text()


def test_method_without_runs_keeps_row(results):
    """A method without runs keeps its row."""
    runs = pd.read_parquet(results / "runs.parquet")
    row = (
        experiment_table(runs, "digits", [*ORDER["digits"], "sgd+new"], REFERENCES["digits"])
        .set_index("method")
        .iloc[-1]
    )
    assert (row.name, row["n"]) == ("sgd+new", 0)


def test_one_seed_prints_no_interval(results):
    """One seed prints no interval and no p."""
    runs = pd.read_parquet(results / "runs.parquet").query("seed == 0")
    table = experiment_table(runs, "digits", ORDER["digits"], REFERENCES["digits"])
    assert (
        table[["p", "p_holm", "test_accuracy_half_width_percent", "difference_low_points"]]
        .isna()
        .all(axis=None)
    )


def test_overview_joins_the_plain_weight_rules(tmp_path):
    root = synthetic_results(tmp_path, ("digits", "disease"), seeds=2)
    write_tables(
        root / "runs.parquet",
        {e: ORDER[e] for e in ("digits", "disease")},
        REFERENCES,
        root / "tables",
    )
    overview = pd.read_csv(root / "tables" / "overview.csv").set_index("method")
    assert overview.loc["base+hsac", ["digits_percent", "disease_percent"]].notna().all()
    note = (root / "tables" / "overview.md").read_text()
    assert "adam on disease" in note
    assert "sgd on digits" in note


def test_note_names_training_on_meta_set(results, tmp_path):
    """Methods that train on the labels of a meta set are named under their tables."""
    runs = pd.read_parquet(results / "runs.parquet")
    runs["meta_batches"] = (runs["method"] == "sgd+hsac").astype(int)
    runs.to_parquet(tmp_path / "runs.parquet")
    write_tables(tmp_path / "runs.parquet", ORDER, REFERENCES, tmp_path / "tables")
    words = "Trained on the true labels of the meta set too, which the others never see: sgd+hsac."
    assert words in (tmp_path / "tables" / "digits.md").read_text()


def test_note_names_training_on_validation(results, tmp_path):
    """Methods that train on validation labels are named under their tables."""
    runs = pd.read_parquet(results / "runs.parquet")
    runs["held_out_batches"] = (
        (runs["experiment"] == "digits") & (runs["method"] == "sgd+hsac")
    ).astype(int)
    runs.to_parquet(tmp_path / "runs.parquet")
    write_tables(tmp_path / "runs.parquet", ORDER, REFERENCES, tmp_path / "tables")
    words = "Trained on validation labels too, by which the others are only selected: sgd+hsac."
    for name, said in (("digits", True), ("overview", True), ("glyphs_long_tailed", False)):
        assert (words in (tmp_path / "tables" / f"{name}.md").read_text()) == said
    runs.drop(columns="held_out_batches").to_parquet(
        tmp_path / "runs.parquet"
    )  # as gathered by an earlier version
    write_tables(tmp_path / "runs.parquet", ORDER, REFERENCES, tmp_path / "older")
    assert words not in (tmp_path / "older" / "digits.md").read_text()


def numbers(**columns):
    """Full numbers of one method, with these columns beside the ones that every table has."""
    row = experiment_table(pd.DataFrame(columns=RUN_SCHEMA.names), "e", ["sgd+hsac"], "")
    return row.assign(test_accuracy_percent=50.0, **columns)


def test_balanced_accuracy_printed_where_different():
    """Balanced accuracy is printed where it is not the accuracy."""
    heading = HEADINGS["balanced_accuracy_percent"]
    assert heading not in displayed(numbers(balanced_accuracy_percent=50.0))
    assert displayed(numbers(balanced_accuracy_percent=40.0))[heading].tolist() == ["40.0"]


def test_long_tail_prints_shots_or_thirds():
    """A long tail prints shots where all three groups have classes and thirds elsewhere."""
    thirds = dict.fromkeys(THIRDS, 10.0)
    assert {HEADINGS[name] for name in THIRDS} <= set(
        displayed(numbers(**thirds, few_accuracy_percent=5.0)).columns
    )
    assert HEADINGS["few_accuracy_percent"] not in displayed(
        numbers(**thirds, few_accuracy_percent=5.0)
    )
    both = displayed(numbers(**thirds, **dict.fromkeys(SHOTS, 20.0)))
    assert {HEADINGS[name] for name in SHOTS} <= set(both.columns)
    assert not {HEADINGS[name] for name in THIRDS} & set(both.columns)


def test_overview_keeps_row_of_a_loss():
    """A loss keeps its row in the overview."""
    runs = pd.DataFrame(columns=RUN_SCHEMA.names)
    order = {"a": ["sgd+hsac", "sgd+fixed@1+focal"], "b": ["adam+hsac", "adam+fixed@1+focal"]}
    assert set(overview_labels(runs, order).values()) == {"base+hsac", "base+fixed@1+focal"}


def test_curvature_sweep_has_one_loss():
    """A sweep of curvatures is under one loss."""
    methods = ["sgd+fixed@1", "sgd+fixed@1+focal", "sgd+euclidean", "sgd+euclidean+linear"]
    rows = pd.DataFrame(
        {"method": methods, "curvature_rule": ["fixed", "fixed", "euclidean", "euclidean"]}
    )
    fixed, flat = sweep(rows.assign(start=[1.0, 1.0, None, None]))
    assert [fixed["method"].tolist(), flat["method"].tolist()] == [
        ["sgd+fixed@1"],
        ["sgd+euclidean"],
    ]
