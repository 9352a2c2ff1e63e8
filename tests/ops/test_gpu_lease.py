"""Shares of GPUs among real processes: never more than there is, none lost to a crash."""

import os
import signal
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack

import pytest
from studies import cell_of, smoke, smoke_keys

from hsac.errors import InputError
from hsac.files import write_json
from hsac.ops import device, runner
from hsac.ops.gpu_lease import (
    CONTEXT,
    DEFAULT_SHARE,
    MARGIN,
    SLOTS,
    Card,
    folder,
    lease,
    leases,
    needed,
    slots,
)

GIB = 2**30
POLL = 0.05
TWO = [Card(0, "a", 16 * GIB, 16 * GIB), Card(1, "b", 16 * GIB, 16 * GIB)]


def take(locks, share, cards=TWO, said=None):
    return lease(
        lambda: cards, lambda card: share, locks, POLL, said.append if said is not None else print
    )


def process(locks, share, *, hold="sys.stdin.read()", cards=2):
    """A process that takes a share, prints the card it got and keeps it until its input ends."""
    script = f"""
import sys, time
from pathlib import Path
from hsac.ops.gpu_lease import Card, lease
cards = [Card(k, "ab"[k], 16 * 2**30, 16 * 2**30) for k in range({cards})]
with lease(lambda: cards, lambda card: {share}, Path({str(locks)!r}), {POLL}) as card:
    print(card.number, flush=True)
    {hold}
"""
    command = [sys.executable, "-c", script]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture
def started():
    """Collects processes, and ends those that are left."""
    found = []
    yield found
    for one in found:
        one.kill()
        one.communicate()


def test_lease_takes_card_with_most_room(tmp_path):
    with ExitStack() as held:
        got = [held.enter_context(take(tmp_path, share)).number for share in (4, 6, 4, 2, 8)]
        assert got == [0, 1, 0, 1, 0]
        assert leases(tmp_path) == {"a": 16, "b": 8}
    assert leases(tmp_path) == {}


def test_used_memory_is_no_room(tmp_path):
    """A card whose memory others use is not leased."""
    full = [Card(0, "a", 16 * GIB, 3 * GIB), TWO[1]]
    with take(tmp_path, 4, full) as one, take(tmp_path, 3, full) as other:
        assert (one.number, other.number) == (1, 0)
    with take(tmp_path, 4, full) as one, take(tmp_path, 4, full) as other:
        assert one.number == other.number == 1
    nearly = [Card(0, "a", 16 * GIB, 13 * GIB)]
    with take(
        tmp_path, SLOTS, nearly
    ) as card:  # a display's share does not keep a whole card from being leased
        assert card.number == 0


def test_killed_process_frees_its_share(tmp_path, started):
    """Who waits gets it."""
    holder = process(tmp_path, SLOTS, cards=1)
    started.append(holder)
    assert holder.stdout.readline() == "0\n"
    waiting = process(tmp_path, SLOTS, cards=1)
    started.append(waiting)
    assert "waiting for a GPU: none of 1 has room" in waiting.stderr.readline()
    assert leases(tmp_path) == {"a": SLOTS}
    os.kill(holder.pid, signal.SIGKILL)
    assert waiting.stdout.readline() == "0\n"
    said = waiting.communicate("")[1]
    assert said == ""  # it said once that it waits
    assert leases(tmp_path) == {}


def test_killed_waiter_lets_next_in(tmp_path, started):
    for share in (SLOTS, SLOTS, 1):
        started.append(process(tmp_path, share, cards=1))
        (started[-1].stdout if len(started) == 1 else started[-1].stderr).readline()
    holder, waiting, last = started
    waiting.kill()
    holder.communicate("")
    assert last.stdout.readline() == "0\n"


def test_processes_never_take_too_much(tmp_path, started):
    """Many of them together never take more than there is."""
    log = tmp_path / "log"
    for share in [16, 7, 5, 9, 4, 4, 12, 1]:
        write = f"open({str(log)!r}, 'a').write(f'{{card.number}} {{%d}} {{time.time()}}\\n')"
        hold = f"{write % share}; time.sleep(0.1); {write % -share}"
        started.append(process(tmp_path, share, hold=hold))
    for one in started:
        assert one.wait(60) == 0, one.stderr.read()
    taken, most = Counter(), Counter()
    for line in sorted(log.read_text().splitlines(), key=lambda line: float(line.split()[2])):
        card, change, _ = line.split()
        taken[card] += int(change)
        most[card] = max(most[card], taken[card])
    assert most.keys() == {"0", "1"}
    assert all(most[card] <= SLOTS for card in most)
    assert not any(taken.values())


def test_share_follows_finished_runs(tmp_path):
    """A share is what finished runs of the method took."""
    method = tmp_path / "runs/digits/sgd+hsac"
    assert needed(method, 4, "Some GPU") is None
    record = {"status": "ok", "device": "Some GPU", "peak_memory_mib": 1024.0, "together": [0, 1]}
    write_json(method / "aa/seed0.json", record)
    write_json(method / "bb/seed0.json", record | {"peak_memory_mib": 2048.0})
    write_json(method / "bb/seed1.json", record | {"device": "cpu", "peak_memory_mib": 1e9})
    write_json(
        method / "bb/seed2.json", record | {"status": "out_of_memory", "peak_memory_mib": 1e9}
    )
    (method / "bb/seed3.json").write_text("{")
    assert needed(method, 2, "Some GPU") == int(MARGIN * 2 * GIB) + CONTEXT
    assert needed(method, 4, "Some GPU") == int(MARGIN * 4 * GIB) + CONTEXT  # twice the seeds
    assert slots(None, 16 * GIB) == DEFAULT_SHARE
    assert [slots(need, 16 * GIB) for need in (1, GIB, GIB + 1, 15 * GIB + 1, 99 * GIB)] == [
        1,
        1,
        2,
        16,
        16,
    ]


def test_locks_are_this_users_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = folder()
    assert found.parent == tmp_path
    assert str(os.getuid()) in found.name
    assert found.stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    (tmp_path / "hsac-12345").mkdir()
    with pytest.raises(InputError, match=r"hsac-12345: found a folder of user .*set TMPDIR"):
        folder()


def test_cpu_locks_nothing(tmp_path, monkeypatch):
    """On a CPU the study is as given."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    study = smoke({"device": "cpu"})
    with device.leased(study, tmp_path, 3) as own:
        assert own is study
    assert not list(tmp_path.iterdir())


@pytest.fixture
def two_gpus(tmp_path, monkeypatch):
    """This process sees the two cards; the one that it works on is told."""
    chosen = []
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(device, "cards", lambda: TWO)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda number: "Some GPU")
    monkeypatch.setattr("torch.cuda.set_device", chosen.append)
    return chosen


def test_auto_takes_any_free_card(two_gpus, tmp_path):
    """A number takes that one."""
    with (
        device.leased(smoke({"device": "auto"})) as one,
        device.leased(smoke({"device": "cuda"}), tmp_path / "runs", 2) as other,
        device.leased(smoke({"device": "cuda:1"}), tmp_path / "runs", 2) as third,
    ):
        assert [own.device for own in (one, other, third)] == ["cuda:0", "cuda:1", "cuda:1"]
        assert two_gpus == [0, 1, 1]
        assert leases(folder()) == {"a": SLOTS, "b": 2 * DEFAULT_SHARE}


def test_misfit_gets_its_own_card(two_gpus, tmp_path, monkeypatch):
    """What does not fit beside others is tried on a card of its own."""
    found = []

    def attempt(study, cell, seeds, variant, data):
        found.append(sum(leases(folder()).values()))
        status = "ok" if found[-1] == SLOTS else "out_of_memory"
        return [({"seed": seed, "status": status, "together": seeds}, None) for seed in seeds]

    monkeypatch.setattr(runner, "attempt", attempt)
    study, cell = cell_of(smoke_keys() | {"device": "auto"}, "digits", "sgd+hsac")
    folder_of_cell = tmp_path / "runs/digits/sgd+hsac/hash"
    made = runner._leased_attempt(study, cell, [0, 1], {}, tmp_path, folder_of_cell)
    assert found == [DEFAULT_SHARE, SLOTS]
    assert [record["status"] for record, _ in made] == ["ok", "ok"]


def test_driver_tells_free_memory(monkeypatch):
    """It is asked by the name of the card."""

    class Properties:
        uuid, total_memory = "c0ffee", 8 * GIB

    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda number: Properties)
    said = subprocess.CompletedProcess([], 0, "GPU-other, 17\nGPU-c0ffee, 1024\n")
    monkeypatch.setattr(device.subprocess, "run", lambda *given, **options: said)
    assert device.cards() == [Card(0, "c0ffee", 8 * GIB, GIB)]
    monkeypatch.setattr(device, "MEMORY", ("no-such-program",))
    monkeypatch.undo()
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda number: Properties)
    monkeypatch.setattr(device, "MEMORY", ("no-such-program",))
    assert device.cards()[0].free == 8 * GIB
