"""The workflow in a folder of its own, for a scheduler."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent
UNSET = ("HSAC_DATA", "HSAC_GPU", "HSAC_PLUGINS")


def few(methods: list[str]) -> dict[str, Any]:
    """Make a scale with two runs of each method, each of them a job."""
    smoke = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())
    digits = smoke["experiments"]["digits"] | {"methods": methods, "reference": methods[0]}
    digits["training"] |= {"epochs": 2, "evaluations": 1}
    del digits["informed"]
    theory = smoke["theory"] | {"studies": {}, "measured": []}
    return {"seeds": [0, 1], "bundle": 1, "theory": theory, "experiments": {"digits": digits}}


class Project:
    """A copy of the workflow's files, and Snakemake in it."""

    def __init__(self, folder: Path, scale: str, content: dict[str, Any] | None = None):
        self.folder, self.scale, self.results = folder, scale, folder / "results" / scale
        folder.mkdir()
        for name in ("Snakefile", "workflow", "config", "profiles", "environment.yml"):
            source = ROOT / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
        if content is not None:
            (folder / f"config/{scale}.yaml").write_text(yaml.safe_dump(content))

    def start(
        self, *arguments: str, environment: dict[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start Snakemake; standard error goes with standard output."""
        command = [sys.executable, "-m", "snakemake", "--config", f"scale={self.scale}", *arguments]
        given = environment or dict(os.environ)
        kept = {key: value for key, value in given.items() if key not in UNSET}
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=kept | {"OMP_NUM_THREADS": "1"},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, *arguments: str, environment: dict[str, str] | None = None) -> str:
        """Run Snakemake, which must end well, and return what it printed."""
        process = self.start(*arguments, environment=environment)
        said, _ = process.communicate()
        assert process.returncode == 0, said + self.log()
        return said

    def log(self) -> str:
        """Return Snakemake's own log of the last run."""
        logs = sorted((self.folder / ".snakemake/log").glob("*.log"))
        return logs[-1].read_text() if logs else ""

    def profile(self, content: dict[str, Any]) -> str:
        """Write a profile of the user's own and return its folder."""
        folder = self.folder / "site"
        folder.mkdir()
        (folder / "profile.yaml").write_text(yaml.safe_dump(content))
        return str(folder)
