"""environment.yml, requirements.txt, requirements.lock and pyproject.toml tell one story."""

import re
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


LOCK = {
    canonical(line.split("==")[0]): line.strip().split("==")[1]
    for line in (ROOT / "requirements.lock").read_text().splitlines()
    if "==" in line and not line.startswith("#")
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRA = [dependency for extra in PROJECT["optional-dependencies"].values() for dependency in extra]
DIRECT = [canonical(d) for d in PROJECT["dependencies"] + EXTRA]


def test_every_direct_dependency_is_locked():
    assert [d for d in DIRECT if d not in LOCK] == []


def test_installed_versions_are_the_locked():
    assert {d: version(d).split("+")[0] for d in DIRECT} == {d: LOCK[d] for d in DIRECT}


def test_conda_and_make_install_alike():
    """Both install the same file."""
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    pip = next(d["pip"] for d in conda["dependencies"] if isinstance(d, dict))
    assert conda["name"] == "hsac"
    assert pip == ["-r requirements.txt"]
    assert "-r requirements.txt" in (ROOT / "Makefile").read_text()
    requirements = (ROOT / "requirements.txt").read_text().splitlines()
    assert "-c requirements.lock" in requirements
    pinned = [line.split()[0] for line in requirements if "==" in line]
    assert [p for p in pinned if LOCK[canonical(p.split("==")[0])] != p.split("==")[1]] == []


def test_conda_asks_for_a_supported_python():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    python = next(d for d in conda["dependencies"] if str(d).startswith("python="))
    asked = tuple(int(p) for p in python.removeprefix("python=").split("."))
    lowest = tuple(int(p) for p in PROJECT["requires-python"].removeprefix(">=").split("."))
    assert asked >= lowest
    assert sys.version_info[:2] >= lowest


def test_no_pin_names_a_machine():
    """No pin is of one kind of machine alone."""
    # torch's CUDA build needs nvidia packages, which a CPU machine must not be asked for
    assert [name for name in LOCK if name.startswith("nvidia") or "+" in LOCK[name]] == []
