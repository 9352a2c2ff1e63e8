"""Theory tables from the studies' rows, present or not."""

import pandas as pd
import pytest
from scipy import stats
from synthetic_records import ORDER

from hsac.errors import InputError
from hsac.files import write_rows
from hsac.report import hypergradient_bias, theory
from hsac.report.theory import write_theory_tables

# What is measured of one trained network.
ROW = {
    **{"top_eigenvalue": 3.0, "bottom_eigenvalue": -0.1, "trace": 9.0, "trace_standard_error": 1.0},
    **{"sigma": 0.1, "alpha": 1.0, "empirical": 0.2, "empirical_upper": 0.25, "kl": 30.0},
    **{"slack": 0.1, "bound": 0.4, "chance": 0.9, "vacuous": False},
    **{"held_out_error": 0.1, "examples": 500},
}


@pytest.fixture
def folder(results, tmp_path):
    """Synthetic results with rows of a measured experiment and of one without a certificate."""
    runs = pd.read_parquet(results / "runs.parquet")
    runs.to_parquet(tmp_path / "runs.parquet")
    for name, certified in (("digits", True), ("glyphs_long_tailed", False)):
        cells = runs[(runs["experiment"] == name) & (runs["curvature_rule"] == "fixed")]
        rows = []
        for k, (method, seed) in enumerate(zip(cells["method"], cells["seed"], strict=True)):
            row = {"experiment": name, "method": method, "seed": seed}
            row |= ROW | {"top_eigenvalue": 3.0 + k}
            if not certified:
                row |= dict.fromkeys(("bound", "chance", "empirical", "vacuous"))
            rows.append(row)
        write_rows(tmp_path / "theory" / "landscape" / f"{name}.csv", rows)
    informed = []
    for seed in (0, 1):
        for kind, bound in (("prior", 0.3), ("trained on", 0.95)):
            row = {"experiment": "digits", "method": "sgd+hsac", "seed": seed, "posterior": kind}
            row |= {**ROW, "test_error": 0.1}
            informed.append(row | {"bound": bound + 0.01 * seed, "vacuous": bound > 0.8})
    write_rows(tmp_path / "theory" / "informed" / "digits.csv", informed)
    return tmp_path


def test_tables_of_certificates_and_correlations(folder):
    write_theory_tables(folder / "runs.parquet", ORDER, folder / "tables")
    table = pd.read_csv(folder / "tables" / "certificates.csv")
    assert set(table["experiment"]) == {"digits"}  # what has no certificate has no row
    start = table[table["prior"] == "start weights"]
    assert len(start) > 1
    assert (abs(start["bound_percent"] - 40) < 1e-9).all()
    informed = table[table["prior"] != "start weights"].set_index("prior")
    assert list(informed["bound_percent"].round(6)) == [30.5, 95.5]
    assert list(informed["vacuous"]) == [0, 2]
    printed = (folder / "tables" / "certificates.md").read_text()
    assert "0 / 2" in printed
    assert "2 / 2" in printed
    ranks = pd.read_csv(folder / "tables" / "rank_correlations.csv")
    known = ranks[ranks["rho"].notna()]
    assert {"digits", "glyphs_long_tailed"} == set(known["experiment"])
    assert not ((known["experiment"] == "glyphs_long_tailed") & (known["x"] == "bound")).any()


def test_unmeasured_runs_keep_their_sharpness(folder):
    runs = pd.read_parquet(folder / "runs.parquet")
    rows = theory.landscape(folder / "theory", runs, ORDER)
    assert len(rows) == (runs["status"] == "ok").sum()
    assert rows.loc[rows["curvature_rule"] == "learned", "top_eigenvalue"].isna().all()
    fixed, flat = theory.sweep(rows)
    assert set(fixed["curvature_rule"]) == {"fixed"}
    assert set(flat["curvature_rule"]) <= {"euclidean"}
    assert fixed["gap"].equals(fixed["last_test_nll"] - fixed["last_train_nll"])


def bias(step, truth, bias, se, **more):
    """A row of the study of the hypergradient."""
    row = {"experiment": "digits", "method": "sgd+fixed@0.3", "curvature": "head", "step": step}
    row |= {"objective": "loss", "shared": "levels", "size": 16, "draws": 25}
    row |= {"truth": truth, "bias": bias, "bias_se": se, "sd": 5 * se}
    return row | {"wrong_sign": 0.2, "gradients": 4.0} | more


def test_biases_are_pooled_over_points(tmp_path):
    """Root mean squares over the points, so that biases of opposite signs do not cancel."""
    rows = [bias(10, 0.3, 0.06, 0.01), bias(20, -0.4, -0.08, 0.02, wrong_sign=0.4)]
    rows.append(bias(10, 0.3, 0.0, 0.0, shared="none"))
    rows.append(bias(10, 0.3, 0.02, 0.0, shared="none", size=64))
    write_rows(tmp_path / "hypergradient" / "digits.csv", rows)
    table = theory.hypergradients(tmp_path, ORDER).set_index(["size", "shared"])
    found = table.loc[(16, "levels")]
    truth = (0.125) ** 0.5
    assert found["truth_rms"] == pytest.approx(truth)
    assert found["bias_percent"] == pytest.approx(20)
    assert found["floor_percent"] == pytest.approx(100 * (2.5e-4) ** 0.5 / truth)
    assert found["mean_bias_percent"] == pytest.approx(-1 / truth)
    assert found["wrong_sign_percent"] == pytest.approx(30)
    each = [2 * stats.t.sf(6, 24), 2 * stats.t.sf(4, 24)]
    assert found["p"] == pytest.approx(stats.combine_pvalues(each).pvalue, rel=1e-9)
    assert table.loc[(16, "none"), "p"] == 1
    assert table.loc[(64, "none"), "p"] < 1e-9  # without noise a bias is certain
    shown = hypergradient_bias.displayed(table.reset_index())
    assert list(shown["Which samples are shared"])[:2] == ["each its own", "one for all"]


@pytest.mark.parametrize(
    ("bias_size", "se", "found"),
    [(3e-17, 0.0, 0.0), (3e-17, 4e-18, 0.0), (3e-5, 0.0, 0.01), (3e-17, 0.01, 1e-14)],
)
def test_rounding_is_no_bias(bias_size, se, found):
    """Where bias and noise are those of rounding, both are 0. One without the other stays."""
    rows = hypergradient_bias.table(pd.DataFrame([bias(10, -0.3, bias_size, se)]))
    rounded = found == 0
    assert rows["bias_percent"][0] == pytest.approx(found, rel=1e-9, abs=0)
    assert rows["sd_percent"][0] == pytest.approx(0 if rounded else 100 * 5 * se / 0.3)
    assert rows["p"][0] == (1 if rounded else pytest.approx(1 if se else 0))


def test_missing_studies_are_said(results, tmp_path):
    pd.read_parquet(results / "runs.parquet").to_parquet(tmp_path / "runs.parquet")
    write_theory_tables(tmp_path / "runs.parquet", ORDER, tmp_path / "tables")
    for name in ("certificates", "coverage", "hypergradient_bias"):
        assert "none" in (tmp_path / "tables" / f"{name}.md").read_text()


def test_damaged_study_is_named(tmp_path):
    (tmp_path / "coverage.csv").write_text('a,b\n1,2,3\n4,"')
    with pytest.raises(InputError, match=r"coverage\.csv cannot be read"):
        theory.study(tmp_path, "coverage")
