"""The command `hsac`."""

import json

import pytest

from hsac import cli


def test_list_names_everything(capsys):
    assert cli.main(["list"]) == 0
    out = capsys.readouterr().out
    for word in (
        "few_shot",
        "glyphs",
        "hgcn",
        "neumann",
        "drift",
        "sam",
        "sgd+hsac",
        "poincare_mlr",
    ):
        assert word in out


@pytest.mark.parametrize(
    "stage",
    [
        *(
            "list",
            "settings",
            "data",
            "variant",
            "train",
            "select",
            "gather",
            "claims",
            "tables",
            "cost",
            "provenance",
            "figures",
            "page",
        ),
        *("stale", "plan", "time", "compare", "why"),
    ],
)
def test_every_stage_has_help(stage, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main([stage, "--help"])
    assert stopped.value.code == 0
    assert "usage: hsac" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["data", "fetch", "digit"], ["digit", "did you mean 'digits'"]),
        (
            ["settings", "--scale", "smoke", "--override", "{", "--output", "x"],
            ["--override", "JSON object"],
        ),
        (["gather", "--settings", "nowhere.json", "--results", "."], ["nowhere.json", "missing"]),
        (
            ["variant", "digits", "--recipe", '{"recipe": "plain"}', "--output", "x"],
            ["--recipe", "name"],
        ),
    ],
)
def test_bad_input_is_one_line_and_status_2(arguments, words, capsys):
    assert cli.main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("hsac: ")
    assert said.count("\n") == 1
    for word in words:
        assert word in said


def test_an_unwritable_folder_is_named(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert (
        cli.main(["settings", "--scale", "smoke", "--output", str(tmp_path / "file" / "s.json")])
        == 2
    )
    assert str(tmp_path / "file") in capsys.readouterr().err


def test_settings_are_written_resolved(tmp_path):
    path = tmp_path / "settings.json"
    assert (
        cli.main(
            ["settings", "--scale", "smoke", "--override", '{"seeds": [7]}', "--output", str(path)]
        )
        == 0
    )
    assert json.loads(path.read_text())["seeds"] == [7]
