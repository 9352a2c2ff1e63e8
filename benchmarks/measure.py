"""Interleaved timing, peak memory, and whether two results agree."""

import gc
from collections.abc import Iterator
from itertools import accumulate
from time import perf_counter, process_time
from typing import Any

import torch
from torch import Tensor

from benchmarks.case import Case, Run

SAMPLE = 0.02  # seconds: short calls are repeated until a sample takes about this long
BUDGET = 2.0  # seconds a case: long calls get fewer samples, but at least LEAST
LEAST = 3


def tensors(value: Any) -> Iterator[Tensor]:
    """The tensors of nested tuples, in order."""
    if isinstance(value, Tensor):
        yield value
    else:
        for part in value:
            yield from tensors(part)


def disagreement(ours: Any, theirs: Any) -> float:
    """Largest difference of two results, tensor by tensor, relative to the largest entry of theirs."""
    worst = 0.0
    for a, b in zip(tensors(ours), tensors(theirs), strict=True):
        if a.shape != b.shape:
            raise ValueError(
                f"shapes: found {tuple(a.shape)} against {tuple(b.shape)}, allowed are equal ones"
            )
        a, b = a.detach().double(), b.detach().double()
        difference = float((a - b).abs().max() / b.abs().max().clamp(min=1e-30))
        worst = max(worst, difference) if difference == difference else float("inf")
    return worst


def samples(
    case: Case, ours: Run, theirs: Run, device: torch.device
) -> tuple[list[float], list[float]]:
    """Numbers in the case's unit, ours and the peer's by turns, so that a busy moment strikes both
    alike.
    """
    if case.unit == "MiB":
        return [peak(ours, device)], [peak(theirs, device)]
    if case.unit != "s":
        found = [(float(ours()), float(theirs())) for _ in range(case.repeats)]
        return [a for a, _ in found], [b for _, b in found]
    both = (ours, theirs)
    for run in both:
        run()  # warm-up
    once = [seconds(run, 1, device) for run in both]
    calls = [max(1, round(SAMPLE / max(t, 1e-7))) for t in once]
    cost = sum(t * n for t, n in zip(once, calls, strict=True))
    repeats = min(case.repeats, max(LEAST, int(BUDGET / max(cost, 1e-7))))
    out: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats):
        for which in (0, 1) if repeat % 2 == 0 else (1, 0):
            out[which].append(seconds(both[which], calls[which], device))
    return out


def seconds(run: Run, calls: int, device: torch.device) -> float:
    """Mean seconds of `calls` calls, the garbage collector off, a GPU waited for.

    CPU time where one thread of one CPU does the work, which others' work on the machine does not
    lengthen; else the clock's.
    """
    clock = process_time if device.type == "cpu" and torch.get_num_threads() == 1 else perf_counter
    collecting = gc.isenabled()
    gc.disable()
    try:
        wait(device)
        start = clock()
        for _ in range(calls):
            run()
        wait(device)
        return (clock() - start) / calls
    finally:
        if collecting:
            gc.enable()


def wait(device: torch.device) -> None:
    """Until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak(run: Run, device: torch.device) -> float:
    """MiB that a call holds at most beyond what was there before: intermediates, what autograd
    saves, results.
    """
    run()  # what the first call keeps for good is not counted
    gc.collect()
    if device.type == "cuda":
        wait(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        result = run()
        wait(device)
        highest = torch.cuda.max_memory_allocated(device) - before
    else:
        with torch.profiler.profile(
            profile_memory=True, activities=[torch.profiler.ProfilerActivity.CPU]
        ) as profile:
            result = run()
        events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
        highest = max(
            accumulate(e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())), default=0
        )
    del result
    return highest / 2**20
