"""Profiles: every one plans the workflow, leaves room for the user's own, and asks for more at
every attempt.
"""

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
    local = re.search(
        r"^localrules:\n((?:    \w+,\n)+)", (ROOT / "workflow/Snakefile").read_text(), re.M
    )
    return found - set(re.findall(r"\w+", local[1]))


@pytest.mark.parametrize("name", ["default", *CLUSTER])
def test_a_dry_run_plans_the_workflow(name):
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--dry-run",
        "--nolock",
        "--quiet",
        "rules",
        "--cores",
        "2",
    ]
    command += [
        "--workflow-profile",
        f"profiles/{name}",
        "--config",
        "scale=smoke",
        "seeds=[0,1,999]",
    ]
    if name == "generic":
        command += ["--cluster-generic-submit-cmd", "qsub"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^train +\d+", done.stdout, re.M)


@pytest.mark.parametrize("name", CLUSTER)
def test_every_submitted_rule_has_resources_that_double_with_each_attempt(name):
    found = profile(name)
    assert found["retries"] >= 2
    assert set(found["set-resources"]) == set(found["groups"]) | TRAINING == remote_rules()
    for resources in found["set-resources"].values():
        for key in ("mem_mb", "runtime"):
            first, second, third = (
                eval(resources[key], {"attempt": attempt}) for attempt in (1, 2, 3)
            )
            assert first > 0
            assert (second, third) == (2 * first, 4 * first)


def test_the_profiles_differ_in_the_scheduler_alone():
    for key in (
        "set-resources",
        "set-threads",
        "groups",
        "retries",
        "latency-wait",
        "keep-going",
        "rerun-incomplete",
    ):
        assert profile("slurm")[key] == profile("generic")[key] == profile("kubernetes")[key]


@pytest.mark.parametrize("name", CLUSTER)
def test_training_gets_gpus_where_the_user_asks_for_them(name, monkeypatch):
    monkeypatch.delenv("HSAC_GPU", raising=False)
    assert profile(name)["set-resources"]["train"]["gpu"] == 0
    monkeypatch.setenv("HSAC_GPU", "1")
    asking = {rule: r["gpu"] for rule, r in profile(name)["set-resources"].items() if "gpu" in r}
    assert asking == dict.fromkeys(TRAINING, 1)


def test_a_user_s_profile_and_one_of_these_combine(tmp_path, monkeypatch):
    site = {
        "default-resources": {"slurm_account": "mine", "slurm_partition": "long"},
        "configfile": "bundle.yaml",
        "group-components": ["theory=20"],
    }
    (tmp_path / "profile.yaml").write_text(yaml.safe_dump(site))
    (tmp_path / "bundle.yaml").write_text("bundle: 5\n")
    monkeypatch.chdir(ROOT)
    arguments = [
        "--profile",
        str(tmp_path),
        "--workflow-profile",
        "profiles/slurm",
        "--config",
        "scale=paper",
    ]
    _, args = parse_args(arguments)
    assert {"slurm_account", "slurm_partition"} <= set(args.default_resources)
    assert [Path(path) for path in args.configfile] == [tmp_path / "bundle.yaml"]
    assert args.executor == "slurm"
    assert set(args.set_resources) == remote_rules()
    for name in CLUSTER:  # left to the user's
        assert not {"default-resources", "config", "configfile", "group-components"} & set(
            profile(name)
        )


def test_an_array_is_never_held_back():
    found = profile("slurm")
    assert set(found["slurm-array-jobs"].split(", ")) == TRAINING
    assert not TRAINING & set(found["groups"])  # the plugin makes no arrays of groups
    assert found["jobs"] == "unlimited"
    assert int(found["max-jobs-per-timespan"].partition("/")[0]) > 100_000
