"""`hsac why`: names are found, changes are seen, commands name exactly what is behind a cell."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from smoke_results import small, smoke_results, tables

from hsac import cli
from hsac.data import catalogue
from hsac.errors import InputError
from hsac.files import read_json, write_json
from hsac.report.answer import Answer, find, pick, same
from hsac.report.recompute import beside_commands, in_place_commands
from hsac.report.why import explain
from hsac.study import load, resolve
from hsac.study.graph import results_root, variant_path
from hsac.study.record import write_index

CELL = ("digits", "sgd+hsac", "test_accuracy_percent")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project's folder with results, never changed."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        smoke_results(folder, small(bundle=2))
    return folder


@pytest.fixture
def project(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that a test may change, as the working directory; its results folder."""
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return results_root("smoke")


@pytest.fixture
def results(whole: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The unchanged results, to read."""
    monkeypatch.chdir(whole)
    return results_root("smoke")


def record(results: Path, method: str = "sgd+hsac", seed: int = 0) -> Path:
    return next((results / "runs/digits" / method).rglob(f"seed{seed}.json"))


def variant_of(results: Path) -> Path:
    """Return the variant file of digits."""
    return variant_path(load.read(results / "settings.json").experiments["digits"])


def edit(path: Path, **changes) -> None:
    write_json(path, read_json(path) | changes)


def test_cell_says_what_lies_behind(results):
    """A cell says all that lies behind it."""
    text, sound = explain(results, *CELL)
    assert sound
    run, variant = read_json(record(results)), variant_of(results)
    stated = (
        pd.read_csv(results / "tables/digits.csv")
        .set_index("method")
        .loc["sgd+hsac", "test_accuracy_percent"]
    )
    for word in (
        str(stated),
        "the same, from what is listed",
        "mean_interval",
        "metrics.selected.test_accuracy",
        *(str(record(results, seed=seed)) for seed in (0, 1, 2)),
        run["config_hash"],
        run["variant_hash"],
        f"{run['code']}, the present code",
        str(variant),
        '"hidden": 32',
        "content SHA-256",
        "python 3.11.0",
        "host synthetic",
        "hsac job train",
        "snakemake",
    ):
        assert word in text, word


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (CELL, CELL),
        (("digits", "sgd+hsac", "Test accuracy (%), validation-selected"), CELL),
        (("digi", "hsac", "validation-selected"), CELL),
        (("digits", "sgd+fixed@0.3 (reference)", "n ok"), ("digits", "sgd+fixed@0.3", "n_ok")),
        (("overview", "base+hsac", "disease"), ("overview", "base+hsac", "disease_percent")),
        (
            ("overview", "base+hsac", "disease_half"),
            ("overview", "base+hsac", "disease_half_width_percent"),
        ),
        (("failures", "learned", "reason"), ("failures", "digits / sgd+learned / 1", "reason")),
        (
            ("cert", "digits hsac start", "risk"),
            ("certificates", "digits / sgd+hsac / start weights", "bound_percent"),
        ),
        (
            ("coverage", "without", "held (%)"),
            ("coverage", "50 / 0.05 / without complexity", "coverage"),
        ),
        (
            ("hyperg", "digits / loss / 16 / levels", "wrong"),
            ("hypergradient_bias", "digits / loss / 16 / levels", "wrong_sign_percent"),
        ),
        (
            ("rank", "digits/sgd/curvature/trace", "Spearman"),
            ("rank_correlations", "digits / sgd / curvature / trace", "rho"),
        ),
    ],
)
def test_parts_of_names_are_found(results, asked, found):
    """Names and parts of them are found."""
    answer = find(results, *asked)
    assert (answer.table, answer.row, answer.column) == found


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (("digit5", "sgd+hsac", "p"), ["TABLE: found 'digit5'", "'digits'"]),
        (("digits", "sgd+hasc", "p"), ["ROW: found 'sgd+hasc'", "'sgd+hsac'"]),
        (("digits", "fixed", "p"), ["ROW: found 'fixed'", "'sgd+fixed@1', 'sgd+fixed@3'"]),
        (
            ("digits", "sgd+hsac", "acuracy"),
            ["COLUMN: found 'acuracy'", "_accuracy_percent'", "more"],
        ),
    ],
)
def test_wrong_name_says_the_nearest(results, asked, words, capsys):
    """A wrong name is one line with the nearest."""
    assert cli.main(["why", *asked, "--scale", "smoke"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("hsac: ")
    assert said.count("\n") == 1
    for word in words:
        assert word in said


def test_a_scale_without_results_is_named(results, capsys):
    assert cli.main(["why", *CELL, "--scale", "paper"]) == 2
    assert "results/paper/tables is missing" in capsys.readouterr().err


def test_table_without_sidecar_is_named(project, capsys):
    """A table without a sidecar is named."""
    (project / "provenance/digits.json").unlink()
    assert cli.main(["why", *CELL, "--scale", "smoke"]) == 2
    assert "provenance/digits.json is missing" in capsys.readouterr().err


def test_edited_record_is_detected(project, capsys):
    """A record edited by hand is detected."""
    assert cli.main(["why", *CELL, "--scale", "smoke"]) == 0
    capsys.readouterr()
    edit(record(project), gradients=7)  # not even a field of the cell's column
    assert cli.main(["why", *CELL, "--scale", "smoke"]) == 1
    said = capsys.readouterr().out
    assert sum("EDITED or damaged" in line for line in said.splitlines()) == 1
    assert cli.main(["why", "digits", "sgd+learned", "curvature", "--scale", "smoke"]) == 0


def test_edit_shows_in_every_cell(project):
    """An edit shows in every cell that takes the record."""
    reference = record(project, "sgd+fixed@0.3")
    metrics = read_json(reference)["metrics"]
    edit(reference, metrics=metrics | {"selected": metrics["selected"] | {"test_accuracy": 0.1}})
    text, sound = explain(project, "digits", "sgd+hsac", "difference_points")
    assert not sound
    assert "DIFFERENT" in text
    for row, column, expected in (
        ("sgd+hsac", "p_holm", False),
        ("sgd+hsac", "sharpness_nats", True),
        ("sgd+grid", "curvature", False),  # it was a candidate
    ):
        assert explain(project, "digits", row, column)[1] == expected


def test_rerun_is_told_from_edit(project):
    """A run made again is told from an edit."""
    path = record(project)
    edit(path, seconds=99.0)
    runs = {
        run["seed"]: path.parent / run["path"]
        for run in read_json(path.parent / "block0.json")["runs"]
    }
    cell = resolve.cell(load.read(project / "settings.json"), "digits", "sgd+hsac")
    write_index(path.parent / "block0.json", cell, runs)
    text, sound = explain(project, *CELL)
    assert not sound
    assert "RUN AGAIN since the table was written" in text
    tables(project)
    assert explain(project, *CELL)[1]


def test_wrong_folder_is_said(tmp_path, monkeypatch):
    """No command makes tables there."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="so this is no project folder"):
        explain(results_root("default"), *CELL)


@pytest.mark.parametrize(
    ("recorded", "said"),
    [
        (None, ", none is recorded in the catalogue"),
        ("1" * 64, ", not as in the catalogue"),
        ("as here", ", as in the catalogue"),
    ],
)
def test_catalogue_is_asked_for_content(results, monkeypatch, recorded, said):
    """Nothing recorded, as of a plugin's data, is no difference."""
    content = read_json(variant_of(results))["data_sha256"]
    found = replace(
        catalogue.entry("digits"), sha256=content if recorded == "as here" else recorded
    )
    monkeypatch.setattr(catalogue, "entry", lambda name: found)
    assert f"content SHA-256 {content}{said}\n" in explain(results, *CELL)[0]


def test_scales_are_quoted_in_commands(project):
    """A scale's name may have a space."""
    edit(project / "settings.json", scale="my scale")
    assert "'scale=my scale'" in in_place_commands(find(project, *CELL))[-1]


def test_a_missing_record_is_said(project):
    record(project).unlink()
    text, sound = explain(project, *CELL)
    assert not sound
    assert "MISSING" in text


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        (CELL, "tables/digits.csv"),
        (
            ("certificates", "digits / sgd+hsac / start weights", "kl_nats"),
            "theory/landscape/digits.csv",
        ),
        (("certificates", "digits hsac certified", "kl_nats"), "theory/informed/digits.csv"),
        (("coverage", "certificate", "held (%)"), "theory/coverage.csv"),
        (
            ("hypergradient_bias", "digits / worst / 64 / none", "p"),
            "theory/hypergradient/digits.csv",
        ),
        (("published", "glyphs", "verdict"), "../../config/published.yaml"),
    ],
)
def test_edited_table_or_study_detected(project, asked, path):
    """An edited table or study is detected."""
    if asked[0] == "published":
        ids = pd.read_csv(project / "tables/published.csv")["id"]
        asked = ("published", ids[0], "verdict")
    assert explain(project, *asked)[1]
    (project / path).write_text((project / path).read_text().replace("0", "1", 1) + "\n")
    text, sound = explain(project, *asked)
    assert not sound
    assert "CHANGED since the table was written" in text


def test_edited_number_differs_from_records(project):
    """An edited cell of the table differs from its records."""
    path = project / "tables/digits.csv"
    numbers = pd.read_csv(path)
    numbers.loc[numbers["method"] == "sgd+hsac", "test_accuracy_percent"] = 99.9
    numbers.to_csv(path, index=False)
    assert "DIFFERENT" in explain(project, *CELL)[0]


def test_an_edited_variant_is_detected(project):
    edit(variant_of(project), counts={"train": 1})
    text, sound = explain(project, *CELL)
    assert not sound
    assert "EDITED or made again since the runs" in text


def test_empty_cell_has_nothing_behind(results):
    """An empty cell says that nothing is behind it."""
    text, sound = explain(results, "overview", "base+learned", "disease")
    assert sound
    assert "there is no such run" in text
    assert "snakemake" not in text


def named(lines: list[str]) -> set[str]:
    """experiment/method of the records that shell lines name."""
    words = [word.strip("'\"") for line in lines for word in line.split()]
    return {
        "/".join(word.split("/")[3:5]) for word in words if word.startswith("results/smoke/runs/")
    }


@pytest.mark.parametrize(
    ("column", "methods"),
    [
        ("test_accuracy_percent", ["hsac"]),
        ("difference_points", ["hsac", "fixed@0.3"]),
        ("p_holm", ["fixed@0.1", "fixed@0.3", "fixed@1", "fixed@3", "grid", "learned", "hsac"]),
    ],
)
def test_commands_name_only_the_cells_runs(results, column, methods):
    """Commands name the runs of the cell and no others."""
    answer = find(results, "digits", "sgd+hsac", column)
    place, beside = in_place_commands(answer), beside_commands(answer)
    assert named(place) == {f"digits/sgd+{method}" for method in methods}
    trained = {
        line.split("--method ")[1].split()[0]
        for line in beside
        if line.startswith("hsac job train")
    }
    assert trained == {f"sgd+{method}" for method in methods if method != "grid"}
    assert sum(line.startswith("hsac job train") for line in beside) == 2 * len(
        trained
    )  # two bundles each
    assert not any("results" in line.split("--index")[1] for line in beside if "--index" in line)


def test_commands_give_the_tables_settings(results):
    """Commands give the settings that the tables were made with."""
    force = in_place_commands(find(results, *CELL))[1]
    assert "--config scale=smoke" in force
    assert "'seeds=[0,1,2]'" in force
    assert "bundle=2" in force
    assert force.endswith("--force")


def test_theory_commands(results):
    def both(*asked):
        answer = find(results, *asked)
        return "\n".join(beside_commands(answer)), "\n".join(in_place_commands(answer))

    beside, place = both("certificates", "digits / sgd+hsac / start weights", "bound_percent")
    assert "hsac job measure" in beside
    assert (
        place.count("theory/landscape/digits/") == 3
    )  # rows kept of three seeds, older ones left alone
    beside, place = both("certificates", "digits hsac certified", "bound_percent")
    assert "hsac job certify" in beside
    assert "rm" not in place.split()
    beside, place = both("hypergradient_bias", "digits / loss / 16 / levels", "p")
    assert "hsac job hypergradient" in beside
    assert "results/smoke/theory/hypergradient/digits.csv" in place
    beside, place = both("coverage", "certificate", "held (%)")
    assert "hsac job theory coverage" in beside
    assert "results/smoke/theory/coverage.csv" in place


@given(
    st.lists(
        st.text("abc+@ /", min_size=1, max_size=5).map(str.strip).filter(bool),
        min_size=1,
        unique=True,
    ),
    st.data(),
)
def test_every_name_is_found_by_itself(names, data):
    name = data.draw(st.sampled_from(names))
    assert pick("ROW", name, {n: [] for n in names}) == name


@given(st.text(min_size=1, max_size=4), st.lists(st.text("xyz/ ", min_size=1), unique=True))
def test_picked_name_fits_or_is_refused(found, names):
    """What is picked fits or is refused."""
    try:
        picked = pick("ROW", found, {name: [] for name in names})
    except InputError:
        return
    assert all(word in picked.casefold() for word in found.casefold().replace("/", " ").split())


def test_a_record_cut_short_is_said(project):
    path = record(project)
    path.write_bytes(path.read_bytes()[:100])
    text, sound = explain(project, *CELL)
    assert not sound
    assert "EDITED or damaged" in text


@pytest.mark.parametrize(
    ("value", "other", "expected"),
    [
        (1.0, 1.0 + 1e-12, True),
        (1.0, 1.001, False),
        (float("nan"), None, True),
        (float("nan"), 0.0, False),
        (True, True, True),
        (True, False, False),
        ("ok", "ok", True),
        ("ok", "no", False),
        (2, 2.0, True),
        ("1", 1, False),
        ("", float("nan"), True),
    ],
)
def test_same(value, other, expected):
    assert same(value, other) == expected


def test_sidecars_same_on_every_writing(project):
    """Sidecars are the same on every writing."""
    before = {path: path.read_bytes() for path in (project / "provenance").glob("*.json")}
    tables(project)
    assert before == {path: path.read_bytes() for path in (project / "provenance").glob("*.json")}
    assert all(json.loads(text)["schema"] == 1 for text in before.values())
    assert isinstance(find(project, *CELL), Answer)
