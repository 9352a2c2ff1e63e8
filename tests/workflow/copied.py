"""The workflow's files in a folder of their own, and Snakemake in it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent
FILES = ("Snakefile", "workflow", "config", "profiles", "environment.yml")
TINY = {"epochs": 1, "batch": 64, "weight_decay": 5e-4, "schedule": "cosine", "evaluations": 1}


def copy_workflow(folder: Path, scale: dict[str, Any], name: str = "tiny") -> Path:
    """Copy the workflow's files, add a scale and return the folder."""
    for item in FILES:
        source = ROOT / item
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / item)
    (folder / f"config/{name}.yaml").write_text(yaml.safe_dump(scale))
    return folder


def smoke_scale() -> dict[str, Any]:
    """Read the smoke scale as it stands in its file."""
    return yaml.safe_load((ROOT / "config/smoke.yaml").read_text())


def environment() -> dict[str, str]:
    """Return the variables of this process with this environment's commands first."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def snakemake(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Snakemake on two cores for the scale `tiny`; words like `key=value` are configuration."""
    config = [word for word in words if "=" in word and not word.startswith("-")]
    others = [word for word in words if word not in config]
    command = [sys.executable, "-m", "snakemake", *others, "--cores", "2"]
    command += ["--config", "scale=tiny", *config]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment())
