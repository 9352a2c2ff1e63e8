"""A Snakefile outside the folder of the results, and a scale with a space in its name."""

import shutil
import subprocess
import sys

from copied import ROOT, environment, smoke_scale, yaml

SCALE = "my tiny"


def test_rule_graph_is_drawn(tmp_path):
    """No file of the workflow lies in the folder, and nobody says how many cores there are."""
    for item in ("config", "profiles"):
        shutil.copytree(ROOT / item, tmp_path / item)
    (tmp_path / f"config/{SCALE}.yaml").write_text(yaml.safe_dump(smoke_scale()))
    target = f"results/{SCALE}/rulegraph.dot"
    profile = ["--workflow-profile", "profiles/default"]
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", target]
    command += ["--directory", tmp_path, *profile, "--config", f"scale={SCALE}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "gather" in (tmp_path / target).read_text()
