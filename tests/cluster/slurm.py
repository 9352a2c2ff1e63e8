"""A real Slurm of one node in a folder, with its own ports, state, munge socket and key."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")
CONFIGURATION = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort={controller}
SlurmdPort={daemon}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2
MinJobAge=86400
ReturnToService=2
MailProg=/bin/true
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=100000 State=UNKNOWN
PartitionName=work Nodes=n1 Default=YES MaxTime=INFINITE State=UP
"""


class CannotStart(Exception):
    """Slurm cannot be started here, for the reason it names."""


class Slurm:
    """A Slurm in a folder; `environment` is for programs that submit to it."""

    def __init__(self, folder: Path):
        self.folder = folder
        missing = [name for name in PROGRAMS if not shutil.which(name)]
        if missing:
            raise CannotStart(
                f"not installed: {', '.join(missing)} (Debian: slurmctld slurmd slurm-client munge)"
            )
        if os.geteuid() != 0:
            raise CannotStart("its daemons must be started by root")
        for name in ("state", "spool", "bin"):
            (folder / name).mkdir(parents=True)
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            second.bind(("127.0.0.1", 0))
            ports = first.getsockname()[1], second.getsockname()[1]
        conf = folder / "slurm.conf"
        conf.write_text(
            CONFIGURATION.format(
                host=socket.gethostname(), controller=ports[0], daemon=ports[1], folder=folder
            )
        )
        # job steps are started without SLURM_*, and would look into /etc/slurm
        wrapper = folder / "bin/srun"
        wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={conf} exec {shutil.which("srun")} "$@"\n')
        wrapper.chmod(0o755)
        self.environment = os.environ | {
            "SLURM_CONF": str(conf),
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        }
        self._start()

    def _start(self) -> None:
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        files = {
            "socket": "munge.socket",
            "key-file": key.name,
            "pid-file": "munged.pid",
            "log-file": "munged.log",
        }
        options = [f"--{option}={self.folder / name}" for option, name in files.items()]
        try:
            self.run("munged", "--force", *options, f"--seed-file={self.folder / 'munged.seed'}")
            self.run("slurmctld")
            self.run("slurmd", "-N", "n1")
            self.wait(lambda: self.node() == "IDLE", 30)
        except (subprocess.CalledProcessError, TimeoutError) as error:
            said = [
                f"{log.name}: {log.read_text().strip()[-500:]}" for log in self.folder.glob("*.log")
            ]
            self.stop()
            raise CannotStart(f"{error} {getattr(error, 'stderr', '')} {' '.join(said)}") from None

    def run(self, *command: str) -> str:
        """Run a Slurm command and return its standard output."""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout

    def wait(self, condition: Callable[[], object], seconds: float) -> None:
        """Wait until the condition holds, or raise TimeoutError."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"waited {seconds} s in vain")
            time.sleep(0.3)

    def node(self) -> str:
        """Return the state of the node, such as IDLE, MIXED or IDLE+DRAIN."""
        words = self.run("scontrol", "show", "node", "n1", "--oneliner").split()
        return next(word.partition("=")[2] for word in words if word.startswith("State="))

    def jobs(self, state: str = "all", comment: str = "") -> list[str]:
        """Return the ids of jobs in a state whose comment has the words."""
        rows = self.run("squeue", f"--states={state}", "--noheader", "--format=%i|%k").splitlines()
        return [row.partition("|")[0] for row in rows if comment in row]

    def states(self) -> list[str]:
        """Return what became of each job."""
        return self.run("squeue", "--states=all", "--noheader", "--format=%T").split()

    def restart_controller(self, seconds: float) -> None:
        """End the controller, and start it again so many seconds later."""
        os.kill(self._pid("slurmctld"), signal.SIGTERM)
        self.wait(lambda: not self._answers(), 60)
        time.sleep(seconds)
        self.run("slurmctld")
        self.wait(self._answers, 60)

    def _answers(self) -> bool:
        ping = subprocess.run(
            ["scontrol", "ping"], env=self.environment, capture_output=True, text=True, timeout=60
        )
        return ping.returncode == 0 and "UP" in ping.stdout

    def stop(self) -> None:
        """End the jobs and the daemons."""
        if (self.folder / "slurmctld.pid").is_file():
            subprocess.run(
                ["scancel", "--user=root"], env=self.environment, capture_output=True, timeout=60
            )
            time.sleep(1)
        for name in ("slurmd", "slurmctld", "munged"):
            try:
                os.kill(self._pid(name), signal.SIGTERM)
            except (FileNotFoundError, ProcessLookupError, ValueError):
                continue

    def _pid(self, name: str) -> int:
        return int((self.folder / f"{name}.pid").read_text())
