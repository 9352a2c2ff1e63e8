"""`hsac job features` and `hsac job landscape`: what they write, and what they refuse."""

import csv
from pathlib import Path

import pytest
from studies import smoke_keys

from hsac import cli
from hsac.files import read_json, write_json
from hsac.frozen import artefact

NET = {"dataset": "digits", "recipe": "backbone", "experiment": "digits", "method": "sgd+euclidean"}


@pytest.fixture
def settings(tmp_path, data_folder, monkeypatch):
    monkeypatch.setenv("HSAC_DATA", str(data_folder))
    keys = smoke_keys()
    keys["frozen"]["features"]["net"] = NET
    write_json(tmp_path / "settings.json", keys)
    return str(tmp_path / "settings.json")


@pytest.fixture
def features(settings, tmp_path):
    path = tmp_path / "features.npz"
    words = ["digits_components", "--settings", settings, "--output", str(path)]
    assert cli.main(["job", "features", *words]) == 0
    return path


def said(capsys, *arguments):
    """Return the error line of a command that must end with status 2."""
    assert cli.main(["job", *arguments]) == 2
    return capsys.readouterr().err


def test_features_are_written(features):
    found = artefact.read(features)
    assert found.arrays["x"].shape == (1, 1797, 16)
    assert found.manifest["recipe"] == {"recipe": "principal_components", "components": 16}


def test_unknown_features_are_named(settings, capsys):
    words = ["digits_component", "--settings", settings, "--output", "f.npz"]
    assert "did you mean 'digits_components'" in said(capsys, "features", *words)


def test_backbones_need_their_files(settings, capsys):
    line = said(capsys, "features", "net", "--settings", settings, "--output", "f.npz")
    assert line.startswith("hsac: --indexes: found none, and net is of recipe backbone")


def test_landscapes_are_written(settings, features, tmp_path):
    path = tmp_path / "landscape.csv"
    words = ["digits_clean", "--dim", "4", "--settings", settings, "--features", str(features)]
    assert cli.main(["job", "landscape", *words, "--output", str(path)]) == 0
    with open(path, newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 2 * 3
    assert (rows[0]["seed"], rows[0]["c"]) == ("0", "0.01")
    assert all(row["solved"] == "True" for row in rows)


def test_rules_are_followed(settings, features, tmp_path, monkeypatch):
    for name in ("OBJECTIVES", "FOLLOWED"):
        monkeypatch.setattr(f"hsac.frozen.rules.{name}", ("train_loss",))
    keys = read_json(tmp_path / "settings.json")
    given = {"seeds": 1, "radius": 0.05, "starts": [0.1], "steps": 1, "problems": ["digits_clean"]}
    keys["frozen"]["rules"] = given
    write_json(tmp_path / "settings.json", keys)
    paths = [str(tmp_path / f"{name}.csv") for name in ("hypergradients", "ends")]
    words = ["digits_clean", "--dim", "4", "--settings", settings, "--features", str(features)]
    assert cli.main(["job", "rules", *words, "--output", paths[0], "--ends", paths[1]]) == 0
    with open(paths[1], newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {(row["start"], row["seed"]) for row in rows} == {("0.1", "0")}
    assert all(0.01 <= float(row["end"]) <= 1.01 for row in rows)
    assert Path(paths[0]).read_text().count("train_loss") == 3 * 8


def test_rules_of_others_are_refused(settings, features, capsys):
    words = ["digits_clean", "--dim", "4", "--settings", settings, "--features", str(features)]
    line = said(capsys, "rules", *words, "--output", "h.csv", "--ends", "e.csv")
    assert "problem: found 'digits_clean'; of frozen.rules.problems allowed are none" in line


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["digits_clan", "--dim", "4"], "did you mean 'digits_clean'"),
        (["digits_clean", "--dim", "3"], "--dim: found 3; of digits_clean allowed are 4"),
        (["digits_clean", "--dim", "4"], "no.json"),
    ],
)
def test_other_landscapes_are_refused(settings, capsys, words, expected):
    more = ["--settings", settings, "--features", "no.npz", "--output", "l.csv"]
    assert expected in said(capsys, "landscape", *words, *more)
