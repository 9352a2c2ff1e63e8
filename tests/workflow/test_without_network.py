"""The workstation scale, made small, where there is no network and only the mirror.

One experiment a dataset and setting; `HSAC_TEST_WHOLE=1` takes all.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
TAKEN = (
    "pubmed",
    "airport_without_3",
    "fashion_mnist",
    "cifar10_long_tailed_100",
    "cifar10_noisy_human",
    "omniglot_way20_shot1",
)


def small(experiment):
    """An experiment of the scale with hsac alone, one seed, few images and steps."""
    variant = dict(experiment["variant"])
    if variant["recipe"] in ("plain", "label_noise"):
        variant["largest"] = 20
    if variant["recipe"] == "episodes":
        variant |= {"train": 12, "validation": 2, "test": 4}
    if variant["recipe"] == "long_tail":  # a tail of five images a class, carved before
        variant |= {"largest": 50, "factor": 10}
        variant.pop("carve", None)
    method = f"{experiment['reference'].partition('+')[0]}+hsac"
    training = experiment["training"] | {
        "epochs": 12 if experiment["training"]["batch"] == 1 else 1,
        "evaluations": 1,
    }
    training["epochs"] = 1 if variant["recipe"] == "episodes" else training["epochs"]
    kept = {key: value for key, value in experiment.items() if key != "informed"}
    alone = {"methods": [method], "reference": method, "seeds": [0]}
    return kept | {"variant": variant, "training": training} | alone


@pytest.mark.slow
def test_workstation_scale_needs_only_mirror(mirror, tmp_path):
    alone = ["unshare", "--net", "--map-root-user"]
    if subprocess.run([*alone, "true"], capture_output=True).returncode:
        pytest.skip("network namespaces are not allowed here")
    for name in ("Snakefile", "workflow", "config", "profiles", "environment.yml"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    scale = yaml.safe_load((ROOT / "config/workstation.yaml").read_text())
    taken = scale["experiments"] if os.environ.get("HSAC_TEST_WHOLE") else TAKEN
    scale["experiments"] = {name: small(scale["experiments"][name]) for name in taken}
    scale["search"] = None
    (tmp_path / "config/small.yaml").write_text(yaml.safe_dump(scale))
    command = [*alone, sys.executable, "-m", "snakemake", "--cores", "2", "--config", "scale=small"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {k: v for k, v in os.environ.items() if k != "HSAC_DATA"} | {
        "PATH": path,
        "HSAC_MIRROR": str(mirror),
    }
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    runs = pd.read_parquet(tmp_path / "results/small/runs.parquet")
    assert set(runs["experiment"]) == set(scale["experiments"])
    assert set(runs["status"]) == {"ok"}
    assert len(runs) == len(scale["experiments"])
    assert (tmp_path / "results/small/index.html").is_file()
