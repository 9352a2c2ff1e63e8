import math

import pytest

from hsac.frozen.bounds import COLUMNS
from hsac.frozen.branches import log_c, solve, solve_along
from hsac.frozen.head import HeadProblem
from hsac.frozen.landscape import LandscapeOptions, landscape
from hsac.frozen.readings import READINGS
from hsac.frozen.splits import Splits

OPTIONS = LandscapeOptions((0.1, 0.5), (0.05,), 0.2, 4, 4)


@pytest.fixture(scope="module")
def made(splits):
    return landscape(splits, None, 2, OPTIONS)


def test_landscape_has_every_column(made):
    expected = [(seed, c) for seed in (0, 1, 2) for c in OPTIONS.curvatures]
    assert [(row["seed"], row["c"]) for row in made] == expected
    named = {f"{name}@0.05" for name in READINGS} | {*COLUMNS, "validation_tempered"}
    assert named <= set(made[0])
    assert all(row["solved"] and row["gradient"] < 1e-6 for row in made)
    assert all(0 < row["certificate"] <= 1 for row in made)


def test_landscape_measures_at_solved_heads(made, splits):
    problem = HeadProblem(splits.train, 3, 2, 0.2)
    heads = solve_along(problem, OPTIONS.curvatures)
    expected = problem.nll(heads[1].w, log_c(problem, 0.5), splits.test)
    found = [row["test_nll"] for row in made if row["c"] == 0.5]
    assert found == pytest.approx(expected.tolist(), abs=1e-12)


def test_lowest_of_all_starts_counts(splits):
    problem = HeadProblem(splits.train, 3, 2, 0.2)
    heads = solve_along(problem, (0.1, 0.3, 1.0))
    for i, at in enumerate(heads):
        theta = log_c(problem, at.c)
        value = problem.objective(at.w, theta)
        starts = [problem.start(0), *(heads[k].w for k in (i - 1, i + 1) if 0 <= k < 3)]
        for start in starts:
            assert (value <= solve(problem, start, theta).value + 2e-6).all()


def test_episodes_are_judged_elsewhere(draw_rows):
    choosing = Splits((0, 0, 1, 1), 3, draw_rows(1, 4, 6), draw_rows(2, 4, 9), draw_rows(2, 4, 9))
    judging = Splits((0, 0, 1, 1), 3, draw_rows(4, 4, 6), draw_rows(5, 4, 9), draw_rows(5, 4, 9))
    made = landscape(choosing, judging, 2, OPTIONS)
    assert len(made) == 2 * 2
    assert all(math.isnan(row[name]) for row in made for name in COLUMNS)
    own = landscape(judging, None, 2, OPTIONS)
    assert [row["test_nll"] for row in made] == [row["test_nll"] for row in own]
    assert [row["train_loss"] for row in made] != [row["train_loss"] for row in own]
