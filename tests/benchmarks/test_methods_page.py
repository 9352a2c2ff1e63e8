"""The page of the scale methods, from made-up results."""

import math
import re
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from benchmarks import methods_page
from hsac.errors import InputError
from hsac.report.statistics import METRIC

SEEDS = 4
LUCKY = ("digits_rules", "sgd+fixed@0.3")  # the row that only guesses
STOPPED = ("disease_gcn", "adam+euclidean")


def accuracies(experiment, method):
    """Return made-up accuracies of the seeds of a row."""
    if (experiment, method) == LUCKY:
        return np.array([0.08, 0.12, 0.09, 0.11])
    stream = np.random.default_rng([*map(ord, experiment + method)])
    return stream.uniform(0.7, 0.8, SEEDS)


@pytest.fixture(scope="module")
def scale(tmp_path_factory):
    """Write results in which a row guesses and another has no finished run."""
    folder = tmp_path_factory.mktemp("methods")
    study = methods_page.load.load("methods", folder=methods_page.ROOT / "config")
    runs = []
    (folder / "tables").mkdir()
    for experiment, found in study.experiments.items():
        table = []
        for method in found.methods:
            values = accuracies(experiment, method)
            few_shot = found.setting == "few_shot"
            status = "diverged" if (experiment, method) == STOPPED else "ok"
            row = {"experiment": experiment, "method": method, "status": status}
            for seed, value in enumerate(values):
                numbers = {
                    METRIC: value if few_shot else 0.99,
                    methods_page.BALANCED: math.nan if few_shot else value,
                }
                runs.append(row | {"seed": seed} | numbers)
            line = {"method": method, "test_accuracy_percent": 100 * values.mean()}
            line |= {"test_accuracy_half_width_percent": 1.25, "test_nll_nats": 0.5}
            tailed = {"tail_accuracy_percent": 12.34} if found.setting == "long_tailed" else {}
            table.append(line | tailed | {"points_tried": 1.0})
        pd.DataFrame(table).to_csv(folder / "tables" / f"{experiment}.csv", index=False)
    pd.DataFrame(runs).to_parquet(folder / "runs.parquet")
    return methods_page.Scale.read(folder)


@pytest.fixture(scope="module")
def page(scale):
    """Write the page."""
    return methods_page.page(scale)


def block(page, experiment):
    """Return the cells of an experiment's table by method, the headings under Method."""
    rows = page.split(f"`{experiment}`: ")[1].split("\n\n")[1].splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return {row[0].strip("`"): row for row in cells}


def test_page_has_every_row_once(scale, page):
    """The page has each row of each experiment, and nothing is left to fill in."""
    for experiment, found in scale.study.experiments.items():
        rows = block(page, experiment)
        assert list(rows)[2:] == list(found.methods)
        assert {len(row) for row in rows.values()} == {len(rows["Method"])}
    assert "$" not in page


def test_template_names_each_experiment(scale):
    found = Counter(re.findall(r"\$(\w+)", methods_page.TEMPLATE.read_text()))
    assert found == Counter([*scale.study.experiments, "summary"])


def test_distance_above_chance_has_interval(page):
    """It is the t interval of the seeds, in points above one class in ten, or one way in five."""
    for experiment, chance in (("digits_rules", 10), ("glyphs_few_shot_rules", 20)):
        rows = block(page, experiment)
        assert rows["Method"][2] == f"Above chance of {chance} % (points)"
        for method in list(rows)[2:]:
            values = 100 * accuracies(experiment, method) - chance
            low, high = stats.t.interval(0.95, SEEDS - 1, values.mean(), stats.sem(values))
            text = f"{values.mean():+.1f} [{low:+.1f}, {high:+.1f}]".replace("-", "−")
            assert rows[method][2].removeprefix("no: ") == text
            assert rows[method][2].startswith("no: ") == ((experiment, method) == LUCKY)


def test_chance_is_of_the_classes(scale):
    assert scale.chance("disease_rules") == 50
    assert scale.chance("glyphs_noisy_rules") == 1


def test_columns_follow_the_setting(page):
    tailed, plain = (block(page, f"{name}_rules") for name in ("glyphs_long_tailed", "digits"))
    assert "Tail (%)" in tailed["Method"]
    assert "12.3" in tailed["sgd+joint"]
    assert "Tail (%)" not in plain["Method"]
    assert plain["sgd+joint"][1].endswith(" ± 1.25")


def test_rows_not_above_chance_are_named(scale, page):
    """Also a row without a finished run, whose runs are counted."""
    text = methods_page.summary(scale)
    count = sum(len(found.methods) for found in scale.study.experiments.values())
    assert f"Of {count} rows {count - 2} are above chance" in text
    for experiment, method in (LUCKY, STOPPED):
        assert f"`{method}` in `{experiment}`" in text
    assert f"Of {count * SEEDS} runs {SEEDS} did not finish." in text
    assert block(page, STOPPED[0])[STOPPED[1]][2] == "–"


def test_missing_table_is_named(scale, tmp_path):
    with pytest.raises(InputError, match=r"digits_rules\.csv is missing; run: snakemake"):
        methods_page.page(replace(scale, results=tmp_path))


def test_command_writes_the_page(scale, page, monkeypatch, tmp_path):
    target = tmp_path / "page.md"
    given = ["methods_page", "--results", str(scale.results), "--output", str(target)]
    monkeypatch.setattr(sys, "argv", given)
    methods_page.main()
    assert target.read_text() == page
