"""Junk in every place of every command: a result, or one line and status 2."""

import contextlib
import io
import json
import os
import shutil
import socket
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from limits import quick, within
from studies import CONFIG, smoke_keys

from hsac import cli
from hsac.cli.app import hsac
from hsac.cli.command import Several
from hsac.study.graph import Graph
from hsac.study.load import read

pytestmark = pytest.mark.slow
TINY = ["--scale", "tiny"]
METHODS = ["sgd+fixed@0.3", "sgd+hsac"]
LONG = {("time",)}  # it times the steps of whole cells
# Lines of progress bars begin otherwise.
BAR = ("%|", "it/s", "s/it", "?run/s", "00:")
DAMAGED = {
    "bytes": bytes(range(256)),
    "empty": b"",
    "list.json": b"[1, 2]",
    "object.json": b'{"a": {"b": [1]}}',
    "deep.json": b"[" * 100_000,
    "latin-1": "ä".encode("latin-1"),
    "half.yaml": b"a: [1",
    "twice.yaml": b"a: 1\na: 2\n",
    "table.csv": b"a,b\n1,2\n",
}
WORDS = [
    *("", "0", "-1", "1", "10", "9" * 30, "1e9", "1e400", "nan", "inf", "x", "-", "--", "--x"),
    *(
        "/",
        "..",
        "../x",
        "a/b",
        "~",
        "~nobody/x",
        "\udcff",
        "x\ny",
        "é",
        "٣",
        "x" * 300,
        "x" * 9999,
    ),
    *("{}", "[]", "null", "{", '{"a":1}', '{"seeds":[0]}', '{"seeds":[NaN]}', '{"scale":1}'),
    *('{"name":"p","recipe":"plain"}', '{"name":1,"recipe":2}', '{"name":"p","recipe":[]}'),
    *('{"name":"p","recipe":"plain","validation":"x"}', '{"name":"p","recipe":"plain","draw":-1}'),
    *('{"name":"p","recipe":"label_noise","kind":[1]}', '{"measure":{"radius":1e999}}'),
    *("5%", "0%", "101%", "nan%", "%", "*", "**", "[", "a@b", "digits/sgd+*", "datasets", "losses"),
    *(
        "digits",
        "disease",
        "cora",
        "sgd+fixed@nan",
        "sgd+no",
        "inexactness",
        "2024-01-01",
        "--help",
    ),
    *("/dev/null", "/dev/zero", "/dev/full", "/proc/self/mem", "/proc/self/nothing"),
]


def commands(group: click.Group, *path: str) -> dict[tuple[str, ...], click.Command]:
    """Every command below a group, by its words."""
    found: dict[tuple[str, ...], click.Command] = {}
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found |= commands(command, *path, name)
        else:
            found[(*path, name)] = command
    return found


COMMANDS = commands(hsac)


class Project(NamedTuple):
    """A folder with finished runs: what fits each option, and files that fit none."""

    folder: Path
    fitting: dict[str, list[str]]
    files: list[str]


def tiny() -> dict[str, Any]:
    """The keys of a scale of two runs that take a second."""
    keys = smoke_keys()
    del keys["scale"]
    digits = keys["experiments"]["digits"]
    for key in ("informed", "hypergradient"):
        digits.pop(key, None)
    digits |= {"methods": METHODS, "reference": METHODS[1]}
    digits["training"]["epochs"] = 1
    return keys | {"experiments": {"digits": digits}, "seeds": [0]}


def done(*words: str) -> None:
    assert cli.main(list(words)) == 0, words


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Fetch, cut, train and gather a tiny scale."""
    folder, before = tmp_path_factory.mktemp("project"), Path.cwd()
    os.chdir(folder)
    try:
        shutil.copytree(CONFIG, "config")
        keys = tiny()
        Path("config/tiny.yaml").write_text(yaml.safe_dump(keys))
        done("data", "fetch", "digits")
        done("job", "settings", *TINY, "--output", "settings.json")
        graph = Graph(read(Path("settings.json")))
        variant = str(graph.variant("digits"))
        recipe = json.dumps(keys["experiments"]["digits"]["variant"])
        done("job", "variant", "digits", "--recipe", recipe, "--output", variant)
        study = ["--settings", "settings.json", "--experiment", "digits", "--variant", variant]
        for bundle in graph.bundles:
            run = ["--method", bundle.of.method, "--seeds", "0", "--index", str(bundle.index)]
            done("job", "train", *study, *run)
        done("job", "gather", "--settings", "settings.json", "--results", "results/tiny")
        Path("junk/folder").mkdir(parents=True)
        for name, content in DAMAGED.items():
            Path("junk", name).write_bytes(content)
        Path("junk/loop").symlink_to("loop")
    finally:
        os.chdir(before)
    indexes = [str(bundle.index) for bundle in graph.bundles]
    return Project(folder, _fitting(variant, indexes), _files(variant, indexes))


def _files(variant: str, indexes: list[str]) -> list[str]:
    junk = [f"junk/{name}" for name in (*DAMAGED, "folder", "loop", "nothing")]
    gathered = [f"results/tiny/{name}.parquet" for name in ("runs", "trajectories", "measured")]
    return ["settings.json", "config", "config/claims.yaml", variant, *indexes, *gathered, *junk]


def _fitting(variant: str, indexes: list[str]) -> dict[str, list[str]]:
    results = "results/tiny"
    return {
        "settings": ["settings.json"],
        "experiment": ["digits"],
        "method": METHODS,
        "variant": [variant],
        "seeds": ["0"],
        "index": ["out/block0.json"],
        "output": ["out/made"],
        "results": [results],
        **{name: [f"{results}/{name}.parquet"] for name in ("runs", "trajectories", "measured")},
        **{name: [f"config/{name}.yaml"] for name in ("published", "claims")},
        "candidates": indexes,
        "indexes": indexes,
        "recipe": ['{"name":"p","recipe":"plain"}'],
        **{name: ["digits"] for name in ("dataset", "name", "names", "cells")},
        "table": ["digits"],
        "row": ["sgd+hsac"],
        "column": ["test_accuracy_percent"],
        **{name: [results] for name in ("a", "b")},
        "folder": ["mirror"],
        "override": ["{}"],
        "sample": ["1"],
        "process": ["0", "-1", "9" * 20],
        "processes": ["1", "0", "-3", "9" * 12],
        "picture": ["out/picture.png"],
        "study": ["coverage"],
        "kind": ["losses"],
        "numbers": ["0"],
    }


@st.composite
def calls(draw: st.DrawFn, project: Project) -> list[str]:
    """A command whose options fit, but for one or some of them."""
    path = draw(st.sampled_from([path for path in COMMANDS if path not in LONG]))
    words, faulty = list(path), st.sampled_from([False, False, False, True])
    junk = st.one_of(st.sampled_from(WORDS), st.sampled_from(project.files), st.text(max_size=8))

    def value(name: str) -> str:
        fits = not draw(faulty) and name in project.fitting
        found = draw(st.sampled_from(project.fitting[name]) if fits else junk)
        # No argument of a process can hold a NUL.
        return found.replace("\0", "")

    for one in COMMANDS[path].params:
        if isinstance(one, click.Argument):
            words.append(value(one.name))
        elif one.name == "scale":
            words += ["--scale", value("scale") if draw(faulty) else "tiny"]
        elif one.is_flag:
            words += [one.opts[0]] * draw(faulty)
        elif one.required or draw(faulty):
            words += [one.opts[0], value(one.name)]
            if isinstance(one, Several) and draw(faulty):
                words.append(value(one.name))
    return words + [draw(junk).replace("\0", "")] * (draw(faulty) and draw(faulty))


def no_network(*given: Any) -> None:
    raise OSError(101, "Network is unreachable")


@pytest.fixture
def offline(project, monkeypatch):
    """Work in the project, where no call reaches the network."""
    monkeypatch.chdir(project.folder)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("HSAC_MIRROR", "HSAC_SETTINGS", "HSAC_DATA", "HSAC_PLUGINS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(socket.socket, "connect", no_network)


@quick
@given(st.data())
def test_calls_end_in_a_line(project, offline, data):
    """Status 0 or 1 is a result; 2 comes with lines that begin with `hsac: `, and no other."""
    words = data.draw(calls(project))
    errors = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors), within():
        status = cli.main(words)
    said = errors.getvalue()
    lines = [line for line in said.splitlines() if line and not any(mark in line for mark in BAR)]
    assert status in (0, 1, 2)
    assert "Traceback" not in said
    if status == 2:
        assert lines
        assert all(line.startswith("hsac: ") for line in lines), lines
