"""The studies of the hypergradient: bounds kept, slopes and floors as in theory, rows repeated."""

import math

import pandas as pd
import pytest
import torch

from hsac.errors import InputError
from hsac.hypergradient.solvers.exact import Exact
from hsac.hypergradient.solvers.nystrom import Nystrom
from hsac.theory import bounds
from hsac.theory.ground_truth import extremes, gradients, operator, reference
from hsac.theory.problems.quadratic import Quadratic
from hsac.theory.studies.approximation import Approximation, left_over
from hsac.theory.studies.convergence import Convergence, Truth, curvature
from hsac.theory.studies.inexactness import Inexactness
from hsac.theory.studies.negative_curvature import NegativeCurvature

QUICK = ("quadratic", "ridge", "logistic")
STUDIES = [
    Approximation(problems=QUICK),
    Inexactness(problems=QUICK, steps=300, checks=10, terms=5),
    Convergence(problems=("quadratic", "logistic"), terms=(0, 3, 10), outer=60),
    NegativeCurvature(),
]


def quiet(text: str) -> None:
    assert text


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    return {type(study).__name__: pd.DataFrame(study.rows(quiet)) for study in STUDIES}


def test_rows_are_plain_and_repeat(tables) -> None:
    """Rows are plain values and repeat themselves."""
    for study in STUDIES:
        rows = study.rows(quiet)
        assert all(type(value) in (float, int, str) for row in rows for value in row.values())
        pd.testing.assert_frame_equal(
            pd.DataFrame(rows), tables[type(study).__name__], check_exact=True
        )


def test_every_error_keeps_below_its_bound(tables) -> None:
    rows = tables["Approximation"]
    bounded = rows[rows["bound"].notna()]
    assert set(rows["solver"]) - set(bounded["solver"]) == {"exact"}
    scale = rows.groupby("problem")["error"].transform("max").loc[bounded.index]
    rounding = 1e-14 * scale
    assert (bounded["error"] <= bounded["bound"] * (1 + 1e-9) + rounding).all()


def test_products_and_errors_are_as_known(tables) -> None:
    """Products and errors of known rows."""
    rows = tables["Approximation"].set_index(["problem", "solver", "terms"]).sort_index()
    size = len(Quadratic().initial[0])
    for problem in QUICK:
        assert rows.loc[(problem, "neumann", 10), "products"] == 11
        assert rows.loc[(problem, "cg", 10), "products"] == 11
        assert rows.loc[(problem, "unrolled", 10), "products"] == 11
        assert rows.loc[(problem, "amortised", 10), "products"] == 41
        assert rows.loc[(problem, "nystrom", 5), "products"] == 7
        unrolled = rows.loc[(problem, "unrolled", 10), "error"]
        assert unrolled > rows.loc[(problem, "neumann", 10), "error"]
        assert rows.loc[(problem, "exact"), "relative"].item() < 1e-8
        assert rows.loc[(problem, "cg", 20), "relative"] < 1e-8
        damped = rows.loc[(problem, "cg_damped", 100), "relative"]
        assert damped > 1e-2  # the damping's own error stays
    assert rows.loc[("quadratic", "exact", size), "products"] == size + 1


def test_nothing_left_over_at_full_rank() -> None:
    """Nothing is left over at full rank, which makes Nyström exact there."""
    problem = Quadratic()
    h = operator(problem.lower, problem.initial, problem.start).whole()[0]
    assert left_over(h, len(h)) < 1e-9
    assert left_over(h, 3) > left_over(h, 8) > 1e-3
    v = torch.ones(1, len(h), dtype=torch.float64)
    h_of = operator(problem.lower, problem.initial, problem.start)
    found = Nystrom(rank=3, damping=0.1).solve(h_of, v, {}).x
    gap = (found - Exact(damping=0.1).solve(h_of, v, {}).x).norm()
    rest = left_over(h, 3)
    assert gap <= rest / (0.1 * (0.1 + rest)) * v.norm()


def test_bounds_at_known_values() -> None:
    assert bounds.identity(1.0, 0.5, 4.0, 2.0) == 2.0
    assert bounds.neumann(1, 0.25, 1.0, 2.0) == pytest.approx(2 * 0.75**2)
    assert bounds.cg(1, 0.0, 1.0, 9.0, 1.0) == pytest.approx(1.0)
    assert bounds.cg(1000, 1.0, 1.0, 9.0, 1.0) == pytest.approx(0.5)
    assert bounds.nystrom(1.0, 1.0, 1.0, 1.0) == pytest.approx(1.0)
    assert bounds.contraction(0.1, 1.0, 5.0) == pytest.approx(0.9)
    assert bounds.contraction(0.5, 1.0, 5.0) == pytest.approx(1.5)


def test_exact_error_is_of_first_order(tables) -> None:
    """Error of an exact solve is of first order in the distance."""
    rows = tables["Inexactness"]
    for problem in QUICK:
        cells = rows[(rows["problem"] == problem) & (rows["solver"] == "exact")]
        cells = cells[
            (cells["relative"] > 1e-9) & (cells["distance"] < 0.1 * cells["distance"].max())
        ]
        assert len(cells) >= 3
        ratio = cells["relative"] / cells["distance"]
        assert ratio.max() < 100 * ratio.min()
        assert cells["distance"].max() > 100 * cells["distance"].min()


def test_truncated_solve_keeps_its_error(tables) -> None:
    """A truncated solve keeps its error where the lower level is solved."""
    rows = tables["Inexactness"]
    last = rows[rows["step"] == rows["step"].max()].set_index(["problem", "solver"])["relative"]
    for problem in QUICK:
        assert last[problem, "neumann"] > 1e3 * last[problem, "exact"]
        assert last[problem, "unrolled"] == pytest.approx(last[problem, "neumann"], rel=1e-2)


def test_gradient_and_distance_fall_together(tables) -> None:
    rows = tables["Inexactness"]
    for problem in QUICK:
        cells = rows[(rows["problem"] == problem) & (rows["solver"] == "exact")]
        assert cells["distance"].is_monotonic_decreasing
        assert cells["step"].tolist()[0] == 0
        assert cells["step"].tolist()[-1] == 300


def test_true_gradient_is_the_reference() -> None:
    """The true gradient of the descent is the reference."""
    problem = Quadratic(mu=0.5)
    truth = Truth.of(problem, problem.start)
    torch.testing.assert_close(truth.gradient, reference(problem, problem.start), rtol=1e-8, atol=0)
    assert truth.mu == pytest.approx(0.5)
    mu, ell = extremes(problem, problem.start)
    assert (truth.mu, truth.ell) == (pytest.approx(mu.item()), pytest.approx(ell.item()))
    assert truth.size == pytest.approx(
        gradients(problem.upper, problem.solve(problem.start), problem.start)[0].norm().item()
    )
    hessian, metric, coupling, _ = problem._drawn
    answer = torch.linalg.solve(hessian, coupling)[0]
    second = answer.mT @ metric[0] @ answer + problem.direct * torch.eye(
        problem.hyper, dtype=torch.float64
    )
    assert curvature(problem) == pytest.approx(torch.linalg.matrix_norm(second, 2).item(), rel=1e-6)


def test_floor_falls_below_its_bound(tables) -> None:
    """The floor falls with the length and keeps below its bound."""
    rows = tables["Convergence"]
    for problem in ("quadratic", "logistic"):
        last = rows[(rows["problem"] == problem) & (rows["outer"] == 60)].sort_values("terms")
        assert (last["floor"].diff().dropna() < 0).all()
        assert (last["floor"] <= last["bound"]).all()
    one = rows[(rows["problem"] == "logistic") & (rows["terms"] == 3)]
    assert one["running"].tolist() == pytest.approx(one["squared"].expanding().mean().tolist())
    assert one["floor"].iloc[0] == pytest.approx(one["squared"].tail(6).mean())


def test_neumann_growth_and_its_guard(tables) -> None:
    """Neumann's growth is the theory's, and the guard stops it."""
    rows = tables["NegativeCurvature"]
    series = rows[(rows["solver"] == "neumann") & (rows["guarded"] == 0)]
    concave = series[series["curvature"] > 0]
    assert (concave["length"] >= concave["theory"] * (1 - 1e-9)).all()
    steep = concave[(concave["curvature"] == 2.0) & (concave["terms"] >= 30)]
    assert (steep["length"] <= 1.01 * steep["theory"]).all()
    assert (steep["relative"] > 100).all()
    guarded = rows[(rows["solver"] == "neumann") & (rows["guarded"] == 1)]
    assert (guarded["relative"] < 1).all()
    assert guarded.loc[guarded["curvature"] == 0, "failed"].eq(0).all()
    assert guarded.loc[guarded["failed"] == 1, "implicit"].eq(0).all()
    assert guarded["failed"].sum() > 0
    assert not series["failed"].any()


def test_ratio_bounds_unnoticed_failures() -> None:
    """The ratio bounds what CG does not notice."""
    rows = pd.DataFrame(NegativeCurvature(curvatures=(0.0999,), terms=(20,)).rows(quiet))
    free, bound = (rows[(rows["solver"] == "cg") & (rows["guarded"] == g)].iloc[0] for g in (0, 1))
    assert not free["failed"]
    assert free["implicit"] > 1000
    assert bound["implicit"] == pytest.approx(100)
    assert math.isnan(free["theory"])


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Approximation(problems=("ridg",)), "problems"),
        (lambda: Approximation(terms=()), "terms"),
        (lambda: Approximation(damping=0.0), "damping"),
        (lambda: Inexactness(steps=0), "steps"),
        (lambda: Convergence(rate=0.0), "rate"),
        (lambda: Convergence(tail=0.0), "tail"),
        (lambda: NegativeCurvature(curvatures=(-1.0,)), "curvatures"),
        (lambda: NegativeCurvature(ratio=0.0), "ratio"),
    ],
)
def test_bad_parameters(make, name: str) -> None:
    with pytest.raises(InputError, match=f"^{name}: found"):
        make()


def test_hyperbolic_problem_in_every_study() -> None:
    """The hyperbolic problem goes through every study."""
    rows = pd.DataFrame(Approximation(problems=("hyperbolic",), terms=(0, 5, 20)).rows(quiet))
    kept = rows["error"] <= rows["bound"] * (1 + 1e-9) + 1e-12
    assert kept.where(rows["bound"].notna(), True).all()
    rows = pd.DataFrame(Inexactness(problems=("hyperbolic",), steps=200, checks=4).rows(quiet))
    assert rows["relative"].notna().all()
    rows = pd.DataFrame(Convergence(problems=("hyperbolic",), terms=(3,), outer=5).rows(quiet))
    assert rows["squared"].iloc[-1] < rows["squared"].iloc[0]
