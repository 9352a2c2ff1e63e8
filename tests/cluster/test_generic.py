"""The profiles for any scheduler and for Kubernetes, with stand-ins that kill some jobs."""

import os
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import yaml
from project import ROOT, Project, few

RESOURCES = "{rule} {resources.mem_mb} {resources.runtime}"
# the last word is the script; the first jobs that ask for a first attempt's memory or time are
# killed, as schedulers do
QSUB = """#!/bin/bash
queue=$(dirname "$0"); id=$$
echo "$*" >> $queue/submitted
killed() { echo 137 > $queue/$id.rc; echo "$1" >> $queue/killed; echo $id; exit; }
case "$*" in
  "train 8000 360 "*) mkdir $queue/memory 2>/dev/null && killed memory ;;
  "GROUP 4000 30 "*) mkdir $queue/time 2>/dev/null && killed time ;;
esac
(setsid sh "${@: -1}" > $queue/$id.log 2>&1; echo $? > $queue/$id.rc) > /dev/null 2>&1 &
echo $id
"""
QSTAT = """#!/bin/sh
rc=$(dirname "$0")/$1.rc
[ -s $rc ] || { echo running; exit; }
if [ "$(cat $rc)" = 0 ]; then echo success; else echo failed; fi
"""
# create: the job's script in the background; get: what became of it; the first job of more than
# 8000 MB is killed
KUBECTL = """#!{python}
import os, pathlib, subprocess, sys, yaml
here = pathlib.Path(__file__).parent
if sys.argv[1] == "create":
    job = yaml.safe_load(sys.stdin)
    (box,) = job["spec"]["template"]["spec"]["containers"]
    name = f"hsac-{{os.getpid()}}"
    with (here / "created").open("a") as file:
        limits = box["resources"]["limits"]
        seconds, gpus = job["spec"]["activeDeadlineSeconds"], limits["nvidia.com/gpu"]
        print(limits["memory"], seconds, gpus, file=file)
    if limits["memory"] == "8000M" and not (here / "killed").exists():
        (here / "killed").touch()
        (here / f"{{name}}.rc").write_text("137")
    else:
        log, rc = here / f"{{name}}.log", here / f"{{name}}.rc"
        run = f"sh {{box['command'][1]}} > {{log}} 2>&1; echo $? > {{rc}}"
        quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        subprocess.Popen(["sh", "-c", run], start_new_session=True, **quiet)
    print(f"{{job['metadata']['namespace']}}/{{name}}", end="")
elif sys.argv[1] == "get":
    assert sys.argv[2:4] == ["job", "--namespace"] and sys.argv[4] == "default", sys.argv
    rc = here / f"{{sys.argv[5]}}.rc"
    ended = rc.read_text().strip() if rc.exists() else ""
    print("1/" if ended == "0" else "/1" if ended else "/", end="")
"""


def scripts(folder, **texts):
    folder.mkdir()
    for name, text in texts.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def check(project, target, options, environment=None):
    """Check that both runs are there and nothing is left to do."""
    said = project.run(*options, "--dry-run", target, environment=environment)
    assert "Nothing to be done" in said
    runs = pd.read_parquet(project.folder / target)
    assert len(runs) == 2
    assert set(runs["status"]) == {"ok"}


def test_killed_job_comes_back_doubled(tmp_path):
    """With twice the memory and time, and no other job does."""
    project = Project(tmp_path / "project", "few", few(["sgd+fixed@0.3"]))
    queue = scripts(tmp_path / "queue", qsub=QSUB, qstat=QSTAT)
    commands = {
        "cluster-generic-submit-cmd": f"{queue}/qsub {RESOURCES}",
        "cluster-generic-status-cmd": f"{queue}/qstat",
        "seconds-between-status-checks": 1,
    }
    options = ("--profile", project.profile(commands), "--workflow-profile", "profiles/generic")
    project.run(*options, "--jobs", "2", "results/few/runs.parquet")
    assert (queue / "killed").read_text().split() == ["time", "memory"]
    rows = [line.split()[:3] for line in (queue / "submitted").read_text().splitlines()]
    asked = sorted((rule, int(memory), int(time)) for rule, memory, time in rows)
    # the variant, the table, and the variant again
    groups = [("GROUP", 4000, 30)] * 2 + [("GROUP", 8000, 60)]
    assert asked == sorted([*groups, *[("train", 8000, 360)] * 2, ("train", 16000, 720)])
    check(project, "results/few/runs.parquet", options)


def test_kubernetes_jobs_follow_the_profile(tmp_path):
    """They ask for the memory, time and GPUs that it says."""
    project = Project(tmp_path / "project", "few", few(["sgd+fixed@0.3"]))
    found = scripts(tmp_path / "bin", kubectl=KUBECTL.format(python=shutil.which("python")))
    job = {
        "HSAC_JOB": str(ROOT / "profiles/kubernetes/job.yaml"),
        "PATH": f"{found}:{os.environ['PATH']}",
    }
    options = ("--workflow-profile", "profiles/kubernetes", "--seconds-between-status-checks", "1")
    environment = dict(os.environ) | job
    project.run(*options, "--jobs", "2", "results/few/runs.parquet", environment=environment)
    created = sorted((found / "created").read_text().splitlines())
    training = [f"8000M {360 * 60} 0"] * 2 + [f"16000M {720 * 60} 0"]
    assert created == sorted([*training, f"4000M {30 * 60} 0", f"4000M {30 * 60} 0"])
    check(project, "results/few/runs.parquet", options, environment)


def test_pods_have_name_and_home():
    """A pod's user often has neither, and Snakemake asks for both."""
    template = yaml.safe_load((ROOT / "profiles/kubernetes/job.yaml").read_text())
    (container,) = template["spec"]["template"]["spec"]["containers"]
    given = {one["name"]: one["value"] for one in container["env"]}
    assert given.keys() == {"USER", "HOME"}
    assert Path(given["HOME"]).is_absolute()


def test_missing_template_is_one_line(tmp_path):
    script = tmp_path / "script.sh"
    properties = '{"threads": 1, "resources": {"mem_mb": 1, "runtime": 1}}'
    script.write_text(f"#!/bin/sh\n# properties = {properties}\n")
    environment = {key: value for key, value in os.environ.items() if key != "HSAC_JOB"}
    command = [ROOT / "profiles/kubernetes/submit", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    wanted = "it must name your copy of profiles/kubernetes/job.yaml"
    assert done.stderr == f"HSAC_JOB: found nothing; {wanted}\n"
