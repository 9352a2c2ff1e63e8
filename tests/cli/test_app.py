"""The command `hsac`: help, names, statuses and error lines."""

import json
import resource
import shlex
import subprocess
import sys

import click
import pytest
from studies import smoke_keys

from hsac import cli
from hsac.cli.app import hsac
from hsac.files import write_json


def commands(group: click.Group, *path: str):
    """Every command below a group, by its words."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        else:
            yield (*path, name), command


COMMANDS = dict(commands(hsac))


def said(capsys, *arguments: str) -> str:
    """The one line on standard error of a command that fails."""
    assert cli.main(list(arguments)) == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err.startswith("hsac: ")
    assert found.err.count("\n") == 1
    return found.err


def test_list_names_everything(capsys):
    assert cli.main(["list"]) == 0
    out = capsys.readouterr().out
    for word in (
        *("few_shot", "glyphs", "hgcn", "neumann", "drift", "sam", "sgd+hsac", "poincare_mlr"),
        *("settings\n", "weight rules\n", "experiments and methods of scale default\n"),
    ):
        assert word in out


@pytest.mark.parametrize("kind", [["weight-rules"], ["weight", "rules"], ["weight_rules"]])
def test_list_takes_one_kind(kind, capsys):
    """Its lines are those of the whole list, without heading and indentation."""
    assert cli.main(["list"]) == 0
    whole = capsys.readouterr().out
    assert cli.main(["list", *kind]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines} >= {"sgd", "adam", "sam"}
    assert "weight rules\n" + "".join(f"  {line}\n" for line in lines) in whole


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_help(path, capsys):
    """Each option and argument is described there, and people's commands have examples."""
    assert cli.main([*path, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"Usage: hsac {' '.join(path)} " in text
    assert path[0] == "job" or "Examples:\n" in text
    for parameter in COMMANDS[path].params:
        assert COMMANDS[path].about.get(parameter.name), parameter.name


@pytest.mark.parametrize("path", [path for path in COMMANDS if path[0] != "job"], ids=" ".join)
def test_examples_are_valid_commands(path):
    words = [shlex.split(line) for line in COMMANDS[path].epilog.splitlines()[2:]]
    for first, *given in words:
        assert (first, *given[: len(path)]) == ("hsac", *path)
        COMMANDS[path].make_context("", given[len(path) :])


def test_help_is_fast():
    """Less than 0.3 s of processor time, so no slow package is imported."""
    slow = {"torch", "pandas", "snakemake", "yaml", "numpy", "jsonschema", "pydantic", "tqdm"}
    code = f"import sys, hsac.cli; assert not {slow} & set(sys.modules), sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)
    seconds = []
    for _ in range(3):
        before = children_seconds()
        subprocess.run([sys.executable, "-m", "hsac", "--help"], check=True, capture_output=True)
        seconds.append(children_seconds() - before)
    assert min(seconds) < 0.3


def children_seconds() -> float:
    """Processor time of ended children, which a busy machine does not stretch as it does a wait."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_version_is_the_package_version(capsys):
    import hsac

    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"hsac {hsac.__version__}\n"


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_scale_is_named_one_way(path):
    """By --scale, with the same default."""
    for parameter in COMMANDS[path].params:
        if parameter.name == "scale":
            assert (parameter.opts, parameter.default) == (["--scale"], "default")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("data fetch digit", ["digit", "did you mean 'digits'"]),
        ("job settings --scale smoke --override { --output x", ["--override", "JSON object"]),
        ("job gather --settings nowhere.json --results .", ["nowhere.json", "missing"]),
        ('job variant digits --recipe {"recipe":"plain"} --output x', ["--recipe", "name"]),
        ("plam", ["plam: found no such command of `hsac`", "did you mean 'plan'"]),
        ("data fetsh", ["fetsh: found no such command of `hsac data`", "did you mean 'fetch'"]),
        ("train", ["train: found no such command of `hsac`; it is `hsac job train`"]),
        ("plan --scala smoke", ["--scala: found an unknown option", "did you mean '--scale'"]),
        ("plan smoke", ["smoke: found more arguments than `hsac plan` takes", "--scale smoke"]),
        ("plan --scale smok", ["smok", "did you mean 'smoke'"]),
        ("plan --scale", ["--scale: found nothing; allowed is the scale"]),
        ("list losess", ["kind: found 'losess'", "did you mean 'losses'"]),
        ("why digits", ["ROW: found nothing; allowed is a row of it"]),
        ("verify --seed one", ["--seed: found 'one'; allowed is a whole number"]),
        ("claims --strict=yes", ["--strict: found a value; allowed is the option alone"]),
        ("compare a b c", ["c: found more arguments than `hsac compare` takes"]),
        ("job tables --output x --settings s", ["--runs: found nothing; allowed is the file runs"]),
        ("job select --settings s --experiment e --method m --seeds --index i", ["--seeds"]),
    ],
)
def test_mistakes_are_one_line(arguments, words, capsys):
    """It names what is wrong, what was found and what is allowed, and the status is 2."""
    line = said(capsys, *arguments.split(" "))
    for word in words:
        assert word in line


@pytest.mark.parametrize("arguments", [[], ["data"], ["job"]])
def test_no_command_shows_the_help(arguments, capsys):
    assert cli.main(arguments) == 2
    assert "Commands:\n" in capsys.readouterr().err


def test_unwritable_folder_is_named(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    output = str(tmp_path / "file" / "s.json")
    line = said(capsys, "job", "settings", "--scale", "smoke", "--output", output)
    assert str(tmp_path / "file") in line


def test_settings_are_written_resolved(tmp_path):
    path = tmp_path / "settings.json"
    given = ["--scale", "smoke", "--override", '{"seeds": [7]}', "--output", str(path)]
    assert cli.main(["job", "settings", *given]) == 0
    assert json.loads(path.read_text())["seeds"] == [7]


def test_interrupt_is_status_130(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("hsac.report.compare.compare", interrupted)
    assert cli.main(["compare", "a", "b"]) == 130


def test_settings_come_from_the_environment(monkeypatch, capsys):
    """As the workflow names them for its jobs."""
    monkeypatch.setenv("HSAC_SETTINGS", "of_the_workflow.json")
    assert "of_the_workflow.json" in said(capsys, "job", "theory", "lipschitz", "--output", "x")


def test_plugins_option_wins_over_environment(monkeypatch, capsys):
    """Without a folder it means none at all."""
    monkeypatch.setenv("HSAC_PLUGINS", "nowhere")
    assert "nowhere" in said(capsys, "list", "losses")
    assert cli.main(["list", "losses", "--plugins"]) == 0


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ('{"seeds":[0],"seeds":[0,1]}', "found the key 'seeds' twice; allowed is once"),
        ('{"time_limit":NaN}', "found NaN; allowed are finite numbers"),
        ("[1]", "allowed is a JSON object"),
    ],
)
def test_override_is_said_once(override, words, capsys):
    line = said(capsys, "plan", "--override", override)
    assert line.startswith("hsac: --override: found")
    assert words in line


def test_line_ends_are_escaped(capsys):
    assert said(capsys, "compare", "a", "b", "x\ny").startswith("hsac: x\\ny: found more arguments")


@pytest.fixture
def settings(tmp_path):
    """Resolved settings of the smoke scale."""
    write_json(tmp_path / "settings.json", smoke_keys())
    return str(tmp_path / "settings.json")


def test_candidates_are_counted(settings, capsys):
    words = ["--settings", settings, "--experiment", "digits", "--method", "sgd+fixed@0.3"]
    more = ["--seeds", "0", "--candidates", "a.json", "--index", "out.json"]
    line = said(capsys, "job", "select", *words, *more)
    allowed = "one of each that sgd+fixed@0.3 chooses among: none"
    assert line == f"hsac: --candidates: found 1; allowed is {allowed}\n"


def test_other_json_is_named(settings, tmp_path, capsys):
    """It is no index, and no choice of a search."""
    other = tmp_path / "other.json"
    other.write_text("[1]")
    words = ["--settings", settings, "--experiment", "digits", "--variant", "v", "--output", "o"]
    line = said(capsys, "job", "measure", *words, "--indexes", str(other))
    assert line.startswith(f"hsac: {other}: not a bundle index")


def test_rule_graph_is_a_text(settings, tmp_path, capsys):
    graph = tmp_path / "graph"
    graph.write_bytes(b"\xb5")
    words = ["--settings", settings, "--runs", "r", "--trajectories", "t", "--output", "o"]
    line = said(capsys, "job", "figures", *words, "--rulegraph", str(graph))
    assert line.startswith(f"hsac: {graph}: found the byte 0xb5 in line 1")


@pytest.mark.parametrize("command", ["plan", "stale", "verify", "claims", "list", "why a b c"])
def test_other_folders_are_no_project(command, tmp_path, monkeypatch, capsys):
    """Where there is no configuration, that is said, and not that one of its files is missing."""
    monkeypatch.chdir(tmp_path)
    assert cli.main(command.split()) == 2
    said = capsys.readouterr().err
    assert said.startswith(
        f"hsac: config/config.yaml: missing in {tmp_path}, so this is no project"
    )
    assert said.count("\n") == 1
