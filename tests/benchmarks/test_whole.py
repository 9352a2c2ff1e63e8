"""The comparison of ways to use an objective in whole networks, on planted runs."""

import pandas as pd
import pytest

from benchmarks import whole


def runs():
    rows = []
    for seed in range(4):
        for method, better, cost in (("sgd+fixed", 0.0, 100), ("sgd+head@1", 0.02, 250)):
            row = {"experiment": "digits", "method": method, "seed": seed, "status": "ok"}
            row |= {
                "gradients": cost,
                "products": 0,
                "search_gradients": float("nan"),
                "curvature": 0.5,
            }
            row |= {"last_validation_accuracy": 0.9 + better + 0.001 * seed}
            rows.append(row | {"last_validation_nll": 0.3 - better * (1 + seed)})
    return pd.DataFrame(rows)


def test_differences_are_paired_and_cost_is_relative():
    found = whole.table(runs(), "digits").set_index("Method")
    head = found.loc["`sgd+head@1`"]
    assert head["Validation accuracy (points)"] == "+2.00 [+2.00, +2.00]"
    low, high = (float(x) for x in head.iloc[1].split("[")[1][:-1].split(", "))
    assert (low + high) / 2 == pytest.approx(-5.0, abs=0.01)
    assert head["Trainings"] == "2.5"
    assert found.loc["`sgd+fixed`", "Trainings"] == "1.0"
    assert found.loc["`sgd+fixed`", "Validation accuracy (points)"] == "+0.00 [+0.00, +0.00]"


def test_tables_are_printed(tmp_path, monkeypatch, capsys):
    runs().to_parquet(tmp_path / "runs.parquet")
    monkeypatch.setattr(whole, "read_gathered", lambda path: pd.read_parquet(path))
    monkeypatch.setattr("sys.argv", ["whole", "--results", str(tmp_path)])
    assert whole.main() == 0
    assert "| `sgd+head@1` |" in capsys.readouterr().out


def test_missing_results_are_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["whole", "--results", str(tmp_path)])
    assert whole.main() == 2
    assert "runs.parquet: missing" in capsys.readouterr().err
