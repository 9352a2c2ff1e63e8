"""Runs that did not finish are named wherever a mean is over the others."""

import pandas as pd
from matplotlib.figure import Figure
from smoke_results import small, smoke_results

from hsac.report.figures import style
from hsac.report.theory import write_theory_tables
from hsac.report.unfinished import LISTED, lost, note


def runs(*statuses: str, experiment: str = "e", method: str = "a") -> pd.DataFrame:
    rows = [(experiment, method, seed, status) for seed, status in enumerate(statuses)]
    return pd.DataFrame(rows, columns=["experiment", "method", "seed", "status"])


def test_note_names_method_and_status() -> None:
    failed = runs("ok", "diverged", "out_of_memory", "diverged")
    said = (
        " Runs that did not finish are in no mean and no comparison, which can flatter a method: "
    )
    assert note(failed) == f"{said}a 3 of 4 (2 diverged, 1 out of memory)."
    other = runs("ok", experiment="f")
    assert "e a 3 of 4" in note(pd.concat([failed, other]))
    assert note(other) == note(other.iloc[:0]) == ""
    assert lost(failed) == (0.75, "3 of 4 runs lost: 2 diverged, 1 out of memory")
    assert lost(other) == (0.0, "")


def test_long_notes_count_the_rest() -> None:
    many = pd.concat([runs("error", method=f"m{k}") for k in range(LISTED + 3)])
    assert note(many).endswith(f"m{LISTED - 1} 1 of 1 (1 error); and 3 more methods.")


def test_every_table_of_survivors_says_so(tmp_path, monkeypatch) -> None:
    """Of results with one diverged run each table that it would be in names it."""
    monkeypatch.chdir(tmp_path)
    results = smoke_results(tmp_path, small())
    said = {path.stem for path in results.rglob("*.md") if "sgd+learned 1 of 3" in path.read_text()}
    assert said >= {"digits", "overview", "cost"}
    # The other experiment, and the sweep of fixed curvatures, are whole.
    assert not said & {"disease", "rank_correlations", "certificates"}
    table = pd.read_parquet(results / "runs.parquet")
    failed = (table["method"] == "sgd+fixed@1") & (table["seed"] == 0)
    table.loc[failed & (table["experiment"] == "digits"), "status"] = "diverged"
    table.to_parquet(results / "runs.parquet")
    order = {"digits": ["sgd+fixed@0.3", "sgd+fixed@1", "sgd+fixed@3"]}
    write_theory_tables(results / "runs.parquet", order, tmp_path / "out")
    said = {
        p.stem for p in (tmp_path / "out").glob("*.md") if "sgd+fixed@1 1 of 3" in p.read_text()
    }
    assert said == {"rank_correlations", "certificates"}


def test_figures_say_it() -> None:
    figure = Figure()
    figure.suptitle("Curvature")
    style.mark_lost(figure, runs("ok", "ok"))
    assert figure.get_suptitle() == "Curvature"
    style.mark_lost(figure, runs("ok", "diverged"))
    assert figure.get_suptitle().startswith("Curvature\nRuns that did not finish")
    assert "a 1 of 2 (1 diverged)" in figure.get_suptitle().replace("\n", " ")
