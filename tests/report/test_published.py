"""The ledger of published numbers: what it may hold, its tags, and a verdict of each kind."""

import copy
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.weightstats import DescrStatsW, ttost_ind

from hsac.cli import main
from hsac.errors import InputError
from hsac.report.published import (
    TAGS,
    Published,
    differing,
    displayed,
    equivalence,
    judge,
    read_published,
    tags_of,
    write_published,
)
from hsac.report.statistics import Mean
from hsac.study import load, resolve

LEDGER = Path(__file__).parents[2] / "config" / "published.yaml"
CONFIG = {
    "setting": "long_tailed",
    "dataset": "glyphs100",
    "variant": {
        "name": "IF50",
        "recipe": "long_tail",
        "profile": "exp",
        "factor": 50,
        "validation": 0.2,
        "draw": 0,
    },
    "model": {"name": "mlp", "hidden": 64, "dim": 16, "clip": 2.0},
    "training": {
        "epochs": 24,
        "batch": 128,
        "weight_decay": 5e-4,
        "schedule": "cosine",
        "evaluations": 8,
    },
    "weights": {"rule": "sgd", "parameters": {"lr": 0.1, "momentum": 0.9}},
    "curvature": {"start": 0.3, "bounds": [0.005, 5.0], "transform": "exp", "sharing": "per_layer"},
    "rule": {"rule": "learned", "parameters": {"lr": 0.01}},
    "loss": {"rule": "cross_entropy", "parameters": {}},
    "measure": {"radius": 0.3, "ascent_steps": 3},
}
ENTRY = Published(
    "p", "Somebody, Somewhere 2024", "glyphs100", "test_accuracy", 50.0, 1.0, tags_of(CONFIG)
)


def results(folder: Path, accuracies: list[float | None], cell: dict = CONFIG) -> pd.DataFrame:
    """Runs of one method with these accuracies (%), None for a run that diverged, and a record."""
    folder.mkdir(exist_ok=True)
    (folder / "record.json").write_text(json.dumps({"config": cell}))
    rows = []
    for seed, accuracy in enumerate(accuracies):
        status = "diverged" if accuracy is None else "ok"
        row = {"experiment": "e", "method": "sgd+learned", "seed": seed, "status": status}
        row |= {"dataset": cell["dataset"], "record": "record.json"}
        share = np.nan if accuracy is None else accuracy / 100
        row |= {f"{kind}_test_accuracy": share for kind in ("selected", "last", "oracle")}
        rows.append(row)
    return pd.DataFrame(rows)


def judged(
    folder: Path, accuracies: list[float | None], entry: Published = ENTRY, cell: dict = CONFIG
) -> dict:
    table = judge([entry], results(folder, accuracies, cell), folder)
    assert len(table) == 1
    return table.iloc[0].to_dict()


def test_reproduced(tmp_path):
    row = judged(tmp_path, [50.1, 49.8, 50.3, 50.0, 49.9])
    assert row["verdict"] == "reproduced"
    assert -1 < row["low"] < row["high"] < 1


def test_drifted(tmp_path):
    row = judged(tmp_path, [53.1, 52.8, 53.3, 53.0, 52.9])
    assert row["verdict"] == "drifted"
    assert row["low"] > 1


def test_undecided_names_seeds_that_decide(tmp_path):
    # sd 2, inside by 1: ((z_0.95 + z_0.8) * 2 / 1)^2 + z_0.95^2 / 2 = 26.1 seeds, 5 done
    row = judged(tmp_path, [50 + d * 2 / math.sqrt(2.5) for d in (-2, -1, 0, 1, 2)])
    assert row["verdict"] == "undecided (about 22 more seeds)"


def test_seeds_cannot_help_wide_intervals(tmp_path):
    wide = replace(ENTRY, interval=4.0, n=5)
    row = judged(tmp_path, [50.1, 49.8, 50.3], wide)
    assert row["verdict"] == "undecided (the published interval is too wide)"


@pytest.mark.parametrize("accuracies", [[50.0], [50.0, None, None], [None, None]])
def test_one_run_concludes_nothing(tmp_path, accuracies):
    assert judged(tmp_path, accuracies)["verdict"].startswith("undecided (spread unknown: ")


def test_lost_runs_are_said(tmp_path):
    """Diverged runs stand beside the verdict, and too many of them leave none."""
    good = [50.1, 49.8, 50.3, 50.0, 49.9, 50.1, 49.8, 50.3, 50.0]
    assert judged(tmp_path, good)["verdict"] == "reproduced"
    few = judged(tmp_path, [*good, None])["verdict"]
    assert few == "reproduced (1 of 10 runs lost: 1 diverged)"
    many = judged(tmp_path, [*good, None, None])["verdict"]
    assert many == "undecided (2 of 11 runs lost: 2 diverged; at most 10 % may be)"


def test_no_spread_needs_no_seeds(tmp_path):
    """Without a spread of ours it is the published one that leaves the number undecided."""
    row = judged(tmp_path, [50.6] * 5, replace(ENTRY, interval=1.0, n=5))
    assert row["verdict"] == "undecided (the published interval is too wide)"


def test_not_run(tmp_path):
    assert judged(tmp_path, [50.0, 50.1], replace(ENTRY, dataset="cifar10"))["verdict"] == "not run"


@pytest.mark.parametrize("tag", TAGS)
def test_retagged_number_is_not_comparable(tmp_path, tag):
    accuracies = [50.1, 49.8, 50.3, 50.0, 49.9]
    for value in ("something else", None):
        row = judged(tmp_path, accuracies, replace(ENTRY, tags={**ENTRY.tags, tag: value}))
        # No run of ours has another way of selection. The metric shown is then the
        # validation-selected one.
        assert row["verdict"] == f"not comparable ({tag})"
        assert math.isnan(row["difference"])
        assert row["differs"].startswith(f"{tag}: ")
    more = replace(ENTRY, tags={**ENTRY.tags, "test_time_augmentation": True})
    row = judged(tmp_path, accuracies, more)
    assert row["verdict"] == "not comparable (test_time_augmentation)"


def test_last_epoch_meets_last_epoch(tmp_path):
    entry = replace(ENTRY, tags=tags_of(CONFIG, "last"))
    runs = results(tmp_path, [10.0, 10.1, 10.2, 9.9, 9.8])
    runs["last_test_accuracy"] = [0.5, 0.501, 0.499, 0.502, 0.498]
    assert judge([entry], runs, tmp_path)["verdict"].tolist() == ["reproduced"]


def leaves(value: object, path: tuple = ()) -> list[tuple]:
    if isinstance(value, dict):
        return [leaf for key, inner in value.items() for leaf in leaves(inner, (*path, key))]
    return [path]


UNTAGGED = {
    *(("setting",), ("dataset",)),
    *(("variant", "name"), ("variant", "draw")),
    *(("measure", "radius"), ("measure", "ascent_steps")),
}


@given(st.sampled_from(leaves(CONFIG)))
def test_every_configured_choice_is_a_tag(path):
    changed = copy.deepcopy(CONFIG)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = "changed"
    assert bool(differing(tags_of(CONFIG), tags_of(changed))) == (path not in UNTAGGED)


def test_choices_of_later_configurations_are_tags():
    """A key that no configuration has yet is a tag once one has it."""
    training = {**CONFIG["training"], "augmentation": "crop", "ema": 0.99}
    later = tags_of({**CONFIG, "training": training, "distillation": 1})
    assert differing(tags_of(CONFIG), later).keys() == {"augmentation", "ema", "distillation"}


def test_unused_curvature_settings_are_no_tags():
    """A Euclidean or fixed curvature leaves out what it does not use."""
    moved = {**CONFIG["curvature"], "transform": "softplus", "bounds": [0.1, 1.0]}
    for rule in ("euclidean", "fixed"):
        one = {**CONFIG, "rule": {"rule": rule, "parameters": {}}}
        assert not differing(tags_of(one), tags_of({**one, "curvature": moved}))
        elsewhere = tags_of({**one, "curvature": {**moved, "start": 0.5}})
        assert bool(differing(tags_of(one), elsewhere)) == (rule == "fixed")


def test_every_cell_has_tags():
    for scale in load.SCALES:
        for cell in resolve.cells(load.load(scale)):
            tags = tags_of(cell.config.dump())
            assert set(tags) >= set(TAGS)
            assert not differing(tags, tags)


def test_equivalence_agrees_with_statsmodels():
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(50.3, 0.8, 7), rng.normal(50.0, 1.1, 5)
    m = Mean(7, ours.mean(), ours.std(ddof=1), np.nan, np.nan)
    alone = equivalence(m, replace(ENTRY, value=49.7))
    assert alone.p_equivalent == pytest.approx(DescrStatsW(ours - 49.7).ttost_mean(-1, 1)[0])
    both = equivalence(m, replace(ENTRY, value=theirs.mean(), sd=theirs.std(ddof=1), n=5))
    assert both.p_equivalent == pytest.approx(ttost_ind(ours, theirs, -1, 1, usevar="unequal")[0])
    half = stats.t.ppf(0.975, 4) * theirs.std(ddof=1) / math.sqrt(5)
    by_interval = equivalence(m, replace(ENTRY, value=theirs.mean(), interval=half, n=5))
    assert by_interval.p_equivalent == pytest.approx(both.p_equivalent)


def test_equivalence_of_equal_runs_is_exact():
    same = Mean(3, 50.5, 0.0, 50.5, 50.5)
    assert equivalence(same, ENTRY).p_equivalent == 0
    assert equivalence(same, replace(ENTRY, value=48.0)).p_beyond == 0


def test_false_verdicts_are_rare():
    """At a difference of exactly the margin, 5 % of verdicts may be reproduced, 5 % drifted."""
    rng = np.random.default_rng(1)
    x = rng.normal(51.0, 1.5, (2000, 8))
    moments = zip(x.mean(1), x.std(1, ddof=1), strict=True)
    tests = [equivalence(Mean(8, m, s, np.nan, np.nan), ENTRY) for m, s in moments]
    for name in ("p_equivalent", "p_beyond"):
        found = sum(getattr(test, name) < 0.05 for test in tests)
        assert stats.binomtest(found, 2000, 0.05, alternative="greater").pvalue > 1e-3


def test_shipped_ledger_is_read():
    numbers = read_published(LEDGER)
    assert len(numbers) > 40
    assert not any("Curvature Learning for Generalization" in number.source for number in numbers)
    assert {n.value for n in numbers if n.id == "cifar10-lt100-ce"} == {70.36}
    tails = [n for n in numbers if n.id.endswith("-fan")]
    assert {n.tags["split"]["factor"] for n in tails} == {20, 50, 100, 200}
    # The source prints the error, 34.32.
    assert {n.value for n in tails if n.id == "cifar10-lt200-ce-fan"} == {65.68}
    for number in numbers:
        assert 0 < number.value <= 100
        assert set(number.tags) >= set(TAGS)
        if number.over == "episodes":
            assert number.interval
            assert number.n
    by_id = {number.id: number for number in numbers}
    assert by_id["cifar10-symmetric40-sam-last"].tags["split"]["rate"] == 0.4
    assert by_id["cifar10-symmetric40-sam-last"].tags["split"]["recipe"] == "label_noise"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda c: c["numbers"][0].pop("margin"),
            "cifar10-lt100-ce.margin: found nothing; this key is required",
        ),
        (
            lambda c: c["numbers"][0].update(margin=0),
            "cifar10-lt100-ce.margin: found 0; allowed is a number above 0",
        ),
        (
            lambda c: c["numbers"][0].update(n=2.5),
            "cifar10-lt100-ce.n: found 2.5; allowed is an integer from 1, or null",
        ),
        (
            lambda c: c["numbers"][0].update(margins=1),
            "cifar10-lt100-ce.margins: found an unknown key; .*did you mean 'margin'",
        ),
        (
            lambda c: c["numbers"][0].update(source="cao"),
            "source: found 'cao'; .*did you mean 'cao2019'",
        ),
        (
            lambda c: c["numbers"][0].update(metric="error"),
            "cifar10-lt100-ce.metric: found 'error'; allowed is test_ac",
        ),
        (
            lambda c: c["numbers"][1].update(id="cifar10-lt100-ce"),
            "cifar10-lt100-ce: id is used twice",
        ),
        (
            lambda c: c["protocols"]["graph"].pop("loss"),
            "pubmed-hnn: tags.loss: found nothing; allowed is a value",
        ),
        (
            lambda c: c["protocols"].update(graph=1),
            "protocols.graph: found 1; allowed is a mapping of tags",
        ),
        (
            lambda c: c["sources"]["cao2019"].update(venue=""),
            "sources.cao2019.venue: found ''; allowed is text, or null where it is not known",
        ),
        (lambda c: c["numbers"].append("x"), "number 51: found 'x'; allowed is a mapping"),
        (lambda c: c.pop("sources"), "sources: found nothing; this key is required"),
    ],
)
def test_bad_entries_are_named(tmp_path, change, words):
    content = yaml.safe_load(LEDGER.read_text())
    content["numbers"] = content["numbers"][:50]
    change(content)
    path = tmp_path / "published.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(InputError, match=words) as raised:
        read_published(path)
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith(str(path))


@pytest.mark.parametrize("text", ["- 1", "a: [", "3"])
def test_file_without_ledger_is_refused(tmp_path, text):
    path = tmp_path / "published.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"published\.yaml: "):
        read_published(path)


def test_written_as_a_table(tmp_path):
    results(tmp_path, [50.1, 49.8, 50.3, 50.0, 49.9]).to_parquet(tmp_path / "runs.parquet")
    content = yaml.safe_load(LEDGER.read_text())
    content["protocols"]["own"] = tags_of(CONFIG)
    own = {"id": "own", "source": "cao2019", "table": "3", "dataset": "glyphs100"}
    own |= {"metric": "test_accuracy", "value": 50.2, "sd": 0.3, "n": 5, "margin": 1}
    own |= {"protocol": "own"}
    other = {**own, "id": "other", "tags": {"split": {"factor": 100}}}
    content["numbers"] = [own, other, *content["numbers"]]
    ledger = tmp_path / "published.yaml"
    ledger.write_text(yaml.safe_dump(content))
    write_published(ledger, tmp_path / "runs.parquet", tmp_path / "tables")
    numbers = pd.read_csv(tmp_path / "tables" / "published.csv").set_index("id")
    assert numbers.loc["own", "verdict"] == "reproduced"
    assert numbers.loc["other", "verdict"] == "not comparable (split)"
    assert numbers.loc["other", "differs"] == "split: factor 100, here 50"
    assert (numbers["verdict"] == "not run").sum() == len(numbers) - 2
    text = (tmp_path / "tables" / "published.md").read_text()
    assert "50.2, sd 0.3 (n = 5 seeds)" in text
    assert "table 3" in text
    assert (tmp_path / "tables" / "published.tex").stat().st_size > 0


def test_empty_ledger_shows_none(tmp_path):
    table = judge([], results(tmp_path, [50.0, 50.1]), tmp_path)
    assert table.empty
    assert displayed(table).iloc[0, 0] == "none"


def test_command_refuses_bad_ledger(tmp_path, capsys):
    columns = ["experiment", "method", "seed", "status"]
    pd.DataFrame(columns=columns).to_parquet(tmp_path / "runs.parquet")
    with pytest.raises(InputError, match=r"none\.yaml: missing"):
        write_published(tmp_path / "none.yaml", tmp_path / "runs.parquet", tmp_path / "tables")
    given = ["--settings", str(tmp_path / "no.json"), "--runs", "r", "--output", "o"]
    assert main(["job", "tables", *given, "--published", str(tmp_path / "none.yaml")]) == 2
    error = capsys.readouterr().err
    assert "no.json" in error
    assert error.count("\n") == 1


def test_duplicate_keys_are_refused(tmp_path):
    path = tmp_path / "published.yaml"
    path.write_text("sources: {}\nnumbers: []\nsources: {}\n")
    with pytest.raises(
        InputError, match=r"published\.yaml: lines 1 and 3: found the key 'sources'"
    ):
        read_published(path)
