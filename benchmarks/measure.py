"""Measure time and peak memory of two functions by turns, and check that their results agree."""

import gc
import math
from collections.abc import Iterator
from itertools import accumulate
from time import perf_counter, process_time
from typing import Any

import torch
from torch import Tensor

from benchmarks.case import Case, Run

# Seconds. Short calls are repeated until a sample takes about this long.
SAMPLE = 0.02
# Seconds a case. Long calls get fewer samples, but at least LEAST.
BUDGET = 2.0
LEAST = 3


def tensors(value: Any) -> Iterator[Tensor]:
    """List the tensors of nested tuples.

    Args:
        value: a tensor, or tuples of them.

    Yields:
        Tensors in order.
    """
    if isinstance(value, Tensor):
        yield value
    else:
        for part in value:
            yield from tensors(part)


def disagreement(ours: Any, theirs: Any) -> float:
    """Compute the largest difference of two results.

    Args:
        ours: tensors in nested tuples.
        theirs: the same of the peer's.

    Returns:
        The largest over the tensors, relative to the largest entry of the peer's; infinite where
        one is not a number.

    Raises:
        ValueError: Two tensors have different shapes.
    """
    worst = 0.0
    for a, b in zip(tensors(ours), tensors(theirs), strict=True):
        if a.shape != b.shape:
            found = f"{tuple(a.shape)} against {tuple(b.shape)}"
            raise ValueError(f"shapes: found {found}, allowed are equal ones")
        a, b = a.detach().double(), b.detach().double()
        difference = float((a - b).abs().max() / b.abs().max().clamp(min=1e-30))
        worst = float("inf") if math.isnan(difference) else max(worst, difference)
    return worst


def samples(
    case: Case, ours: Run, theirs: Run, device: torch.device
) -> tuple[list[float], list[float]]:
    """Measure both functions of a case by turns, so that a busy moment strikes both alike.

    Args:
        case: says the unit and how many samples there are at most.
        ours: our function.
        theirs: the peer's.
        device: where they compute.

    Returns:
        Our samples and the peer's, in the case's unit.
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
    """Measure the mean time of a call, the garbage collector off, a GPU waited for.

    Args:
        run: the function.
        calls: how often it is called.
        device: where it computes.

    Returns:
        Seconds of CPU time where one thread of one CPU does the work, else of the clock.
    """
    # CPU time is not lengthened by other work on the machine, but counts every thread
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
    """Wait until a GPU has done what it was given.

    Args:
        device: where the work is done; a CPU is not waited for.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak(run: Run, device: torch.device) -> float:
    """Measure what a call holds at most: intermediates, what autograd saves, results.

    Args:
        run: the function.
        device: where it computes.

    Returns:
        MiB beyond what was there before.
    """
    # what the first call keeps for good is not counted
    run()
    gc.collect()
    if device.type == "cuda":
        wait(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        result = run()
        wait(device)
        highest = torch.cuda.max_memory_allocated(device) - before
    else:
        activities = [torch.profiler.ProfilerActivity.CPU]
        with torch.profiler.profile(profile_memory=True, activities=activities) as profile:
            result = run()
        events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
        events.sort(key=lambda event: event.start_ns())
        highest = max(accumulate(event.nbytes() for event in events), default=0)
    del result
    return highest / 2**20
