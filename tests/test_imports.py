"""With PYTHONWARNINGS=error nothing fails that works without it."""

import os
import subprocess
import sys
from pathlib import Path

ALL = """
import importlib, pkgutil
import hsac
for found in pkgutil.walk_packages(hsac.__path__, "hsac."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
"""
USED = """
import sys
from pathlib import Path
from hsac.data import fetch, load_graph
from hsac.ops import doctor
fetch("disease", Path(sys.argv[1]))
load_graph("disease", Path(sys.argv[1]))
place = doctor.Place("smoke", None, Path(sys.argv[1]), Path(sys.argv[1]))
print(*(one.text for one in doctor.environment(place) if one.fix), sep="\\n")
"""


def strictly(script: str, *words: str) -> str:
    """Run a script whose warnings are errors, and return what it prints."""
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    command = [sys.executable, "-c", script, *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_module_imports():
    assert not strictly(ALL).strip()


def test_graphs_and_doctor_work(tmp_path: Path):
    assert "cannot be imported" not in strictly(USED, str(tmp_path))
