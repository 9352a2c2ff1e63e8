"""Each profile plans the workflow, leaves room for the user's, and asks for more each attempt."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
import yte
from project import ROOT
from snakemake.cli import parse_args

CLUSTER = ("slurm", "generic", "kubernetes")
TRAINING = {"train", "points"}


def profile(name: str) -> dict:
    with (ROOT / f"profiles/{name}/profile.yaml").open() as file:
        return yte.process_yaml(file)


def remote_rules() -> set[str]:
    """Rules that are submitted."""
    texts = [path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk")]
    found = set(re.findall(r"^rule (\w+):", "\n".join(texts), re.M))
    snakefile = (ROOT / "workflow/Snakefile").read_text()
    local = re.search(r"^localrules:\n((?:    \w+,\n)+)", snakefile, re.M)
    return found - set(re.findall(r"\w+", local[1]))


@pytest.mark.parametrize("name", ["default", *CLUSTER])
def test_dry_run_plans_the_workflow(name):
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--nolock", "--cores", "2"]
    command += ["--quiet", "rules", "--workflow-profile", f"profiles/{name}"]
    command += ["--config", "scale=smoke", "seeds=[0,1,999]"]
    if name == "generic":
        command += ["--cluster-generic-submit-cmd", "qsub"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^train +\d+", done.stdout, re.M)


@pytest.mark.parametrize("name", CLUSTER)
def test_resources_double_with_each_attempt(name):
    """Those of every rule that is submitted."""
    found = profile(name)
    assert found["retries"] >= 2
    assert set(found["set-resources"]) == set(found["groups"]) | TRAINING == remote_rules()
    for resources in found["set-resources"].values():
        for key in ("mem_mb", "runtime"):
            asked = [eval(resources[key], {"attempt": attempt}) for attempt in (1, 2, 3)]
            first, second, third = asked
            assert first > 0
            assert (second, third) == (2 * first, 4 * first)


def test_profiles_differ_in_scheduler_alone():
    same = ("set-resources", "set-threads", "groups", "retries", "latency-wait")
    for key in (*same, "keep-going", "rerun-incomplete"):
        assert profile("slurm")[key] == profile("generic")[key] == profile("kubernetes")[key]


@pytest.mark.parametrize("name", CLUSTER)
def test_training_gets_gpus_on_request(name, monkeypatch):
    """Where HSAC_GPU says so."""
    monkeypatch.delenv("HSAC_GPU", raising=False)
    assert profile(name)["set-resources"]["train"]["gpu"] == 0
    monkeypatch.setenv("HSAC_GPU", "1")
    asking = {rule: r["gpu"] for rule, r in profile(name)["set-resources"].items() if "gpu" in r}
    assert asking == dict.fromkeys(TRAINING, 1)


def test_profiles_combine_with_the_users(tmp_path, monkeypatch):
    site = {
        "default-resources": {"slurm_account": "mine", "slurm_partition": "long"},
        "configfile": "bundle.yaml",
        "group-components": ["theory=20"],
    }
    (tmp_path / "profile.yaml").write_text(yaml.safe_dump(site))
    (tmp_path / "bundle.yaml").write_text("bundle: 5\n")
    monkeypatch.chdir(ROOT)
    profiles = ["--profile", str(tmp_path), "--workflow-profile", "profiles/slurm"]
    _, args = parse_args([*profiles, "--config", "scale=paper"])
    assert {"slurm_account", "slurm_partition"} <= set(args.default_resources)
    assert [Path(path) for path in args.configfile] == [tmp_path / "bundle.yaml"]
    assert args.executor == "slurm"
    assert set(args.set_resources) == remote_rules()
    left_to_the_user = {"default-resources", "config", "configfile", "group-components"}
    for name in CLUSTER:
        assert not left_to_the_user & set(profile(name))


def test_array_is_never_held_back():
    found = profile("slurm")
    assert set(found["slurm-array-jobs"].split(", ")) == TRAINING
    assert not TRAINING & set(found["groups"])  # the plugin makes no arrays of groups
    assert found["jobs"] == "unlimited"
    assert int(found["max-jobs-per-timespan"].partition("/")[0]) > 100_000
