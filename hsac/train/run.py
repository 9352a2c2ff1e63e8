"""From a cell and its seeds to one record a run."""

import gc
import json
import math
import os
import platform
import resource
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hsac import parts
from hsac.ball import Transform, expmap0
from hsac.data import catalogue, load_variant
from hsac.errors import InputError
from hsac.files import (
    all_or_none,
    digest,
    exclusive,
    file_sha256,
    read_json,
    recover,
    write_array,
    write_json,
)
from hsac.ops.device import choose_device, leased
from hsac.rules.types import CurvatureRule, Trial, WeightRule
from hsac.study import fingerprint
from hsac.study.record import FINAL, read_records, same_cell, whole, write_index, write_point_index
from hsac.study.selection import run_score, validation_score
from hsac.train.ensemble import Bundle
from hsac.train.loop import SLICE, Outcome, Plan, TimeLimitError, train
from hsac.train.restarts import Training, search, tempered_loss
from hsac.train.seeds import generator
from hsac.train.tasks import EpisodeTask, ImageTask, NodeTask, Task

Record = dict[str, Any]
Trained = list[tuple[Record, np.ndarray | None]]
PACKAGES = (
    "torch",
    "geoopt",
    "torch-geometric",
    "learn2learn",
    "datasets",
    "numpy",
    "scipy",
    "pillow",
    "matplotlib",
)


def run_bundle(
    settings: dict[str, Any],
    cell: dict[str, Any],
    seeds: list[int],
    variant: Path,
    data: Path,
    index: Path,
    told: Record | None = None,
) -> None:
    """Train the seeds of a cell whose records are not there yet, write a record each beside the
    bundle's index, then this. `told`: what the records say of the search that chose the cell's
    point. Raises InputError for what the user can mend (data, device).
    """
    paths = _trained(settings, cell, seeds, load_variant(variant), data, index.parent, told)
    write_index(index, cell, paths)


def run_points(
    settings: dict[str, Any],
    points: list[dict[str, Any]],
    seeds: list[int],
    variant: Path,
    data: Path,
    index: Path,
) -> None:
    """Train the seeds of each of these points of a searched cell, one point after another, then
    write the bundle's index. A point's records lie in the folder of its own configuration beside
    that of the index: every search that has the point, in bundles of whatever size, takes them from
    there. Raises InputError as `run_bundle` does.
    """
    chosen = load_variant(variant)
    runs: list[tuple[int, Path]] = []
    for point in points:
        runs += _trained(
            settings, point, seeds, chosen, data, index.parent.with_name(point["hash"]), None
        ).items()
    write_point_index(index, points[0], runs)


def _trained(
    settings: dict[str, Any],
    cell: dict[str, Any],
    seeds: list[int],
    chosen: dict[str, Any],
    data: Path,
    folder: Path,
    told: Record | None,
) -> dict[int, Path]:
    """The records of a cell's seeds in a folder, those trained that are not there yet.

    A record counts as there when its configuration, code and variant are the present ones, its
    status is final and its weights lie beside it. Records are `seed<k>.json`, final weights
    `seed<k>.npy`; no finished one is ever deleted, so a bundle that was cut short resumes. What
    goes wrong in training some seeds is their records' status; the others go on. Seeds that are
    trained as one program are kept all or not at all, and one whose record was lost is trained with
    the same others again: without them its bits would differ. A process whose workflow was killed
    may still train the same: the later one waits and finds the records.
    """
    code = fingerprint.of_training(cell["config"])
    identity = {"config_hash": cell["hash"], "code": code, "variant_hash": chosen["hash"]}
    paths = {seed: folder / f"seed{seed}.json" for seed in seeds}
    bundle = f"seeds{seeds[0]}-{seeds[-1]}"
    with exclusive(folder, bundle):
        recover(folder, bundle)
        missing = [seed for seed in seeds if not _is_done(paths[seed], identity)]
        for seed in (
            {*seeds} - {*missing} if told else ()
        ):  # the search may have been run again, and come out the same
            record = read_json(paths[seed])
            if record | told != record:
                write_json(paths[seed], record | told)
        finished = [read_json(path) for seed, path in paths.items() if seed not in missing]
        joint = _vmapped(cell["config"]["model"])
        for group in _programs(missing, finished) if joint else [[seed] for seed in missing]:
            trained = _leased_attempt(settings, cell, group, chosen, data, folder)
            runs = [run for run in trained if run[0]["seed"] in missing]
            with all_or_none(folder, bundle) as staged:
                for record, weights in runs:
                    path = staged / paths[record["seed"]].name
                    kept = path.with_suffix(".npy")
                    if (
                        weights is None
                    ):  # an older run may have left some, which the record no longer tells of
                        (folder / kept.name).unlink(missing_ok=True)
                    else:
                        write_array(kept, weights)
                    sha256 = None if weights is None else file_sha256(kept)
                    write_json(path, record | (told or {}) | identity | {"weights": sha256})
    return paths


def _programs(missing: list[int], finished: list[Record]) -> list[list[int]]:
    """The seeds to train as one program each so that every missing one is trained: those that a
    finished record says were trained with it, or else all the missing ones together.
    """
    former = [
        some for some in (record.get("together", []) for record in finished) if {*some} & {*missing}
    ]
    again = [group for i, group in enumerate(former) if group not in former[:i]]
    left = [seed for seed in missing if not any(seed in group for group in again)]
    return again + [left] * bool(left)


def _vmapped(model: dict[str, Any]) -> bool:
    """Whether many seeds of the model run faster as one program."""
    head = model.get("head")
    return parts.part("model", model["name"]).vmapped and (
        head is None or parts.part("head", head["rule"]).vmapped
    )


def _is_done(path: Path, identity: dict[str, str]) -> bool:
    try:
        record = read_json(path)
    except InputError:
        return False
    return same_cell(record, identity) and record.get("status") in FINAL and whole(path, record)


def _leased_attempt(
    settings: dict[str, Any],
    cell: dict[str, Any],
    seeds: list[int],
    variant: dict[str, Any],
    data: Path,
    folder: Path,
) -> Trained:
    """As `attempt`, on a share of a GPU where there are GPUs. What does not fit beside others is
    tried on a GPU of its own before it is believed: a record does not depend on the company.
    """
    with leased(settings, folder.parent, len(seeds)) as own:
        trained = attempt(own, cell, seeds, variant, data)
    fitted = all(
        record["status"] != "out_of_memory" and record["together"] == seeds for record, _ in trained
    )
    if fitted or own is settings:
        return trained
    with leased(settings) as own:
        return attempt(own, cell, seeds, variant, data)


def attempt(
    settings: dict[str, Any],
    cell: dict[str, Any],
    seeds: list[int],
    variant: dict[str, Any],
    data: Path,
) -> Trained:
    """Train the seeds together; what goes wrong becomes a record a seed without metrics (weights
    None).

    Seeds that do not fit into memory together are halved until they do. Raises InputError: the user
    can mend that.
    """
    started = time.perf_counter()
    try:
        return [*train_seeds(settings, cell, seeds, variant, data)]
    except InputError:
        raise
    except Exception as error:
        traceback.print_exc()
        status, reason = failure(error)
        if status == "timeout":
            reason += f"; allowed are {settings['time_limit']:g} s a run"
    gc.collect()  # what the traceback held, before the next attempt
    torch.cuda.empty_cache()
    if status == "out_of_memory" and len(seeds) > 1:
        half = len(seeds) // 2
        parts = (seeds[:half], seeds[half:])
        return [run for part in parts for run in attempt(settings, cell, part, variant, data)]
    names = ", ".join(map(str, seeds))
    print(
        f"hsac: {cell['experiment']} {cell['method']} seeds {names}: {status}: {reason}",
        file=sys.stderr,
    )
    common = _common(settings, cell, seeds, started)
    return [
        (common | NOTHING | {"seed": seed, "status": status, "reason": reason}, None)
        for seed in seeds
    ]


NOTHING: Record = {
    **dict.fromkeys(
        ["steps", "gradients", "products", "held_out_batches", "metrics", "selected_by"]
    ),
    **dict.fromkeys(["sharpness", "outer", "landscape", "embedding"]),
    "curvature": {"names": [], "final": []},
    "trajectory": {
        key: []
        for key in (
            "step",
            "curvature",
            "sharpness",
            "train_nll",
            "validation_accuracy",
            "test_accuracy",
        )
    },
}


def failure(error: Exception) -> tuple[str, str]:
    """Status and one-line reason of what ended a training."""
    text = " ".join(str(error).split())[:300]
    if isinstance(error, TimeLimitError):
        return "timeout", text
    # the CPU's allocator and cuBLAS raise plain RuntimeErrors that only their words tell apart
    words = (
        "can't allocate memory",
        "not enough memory",
        "out of memory",
        "CUBLAS_STATUS_ALLOC_FAILED",
    )
    memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
    if memory or (isinstance(error, RuntimeError) and any(word in text for word in words)):
        return "out_of_memory", text or type(error).__name__
    return "error", f"{type(error).__name__}: {text}"


@dataclass(frozen=True)
class Prepared:
    """A cell and its seeds made ready: task, model, bundle, rules, plan, start weights (R, P) and
    start θ (R, C).
    """

    task: Any
    model: Any
    bundle: Bundle
    weight_rule: WeightRule
    curvature_rule: CurvatureRule
    transform: Transform | None
    plan: Plan
    w: Tensor
    theta: Tensor


def prepare(
    settings: dict[str, Any],
    cell: dict[str, Any],
    seeds: list[int],
    variant: dict[str, Any],
    data: Path,
) -> Prepared:
    """Build what trains the seeds of a cell, in deterministic mode on the device of the settings."""
    config = cell["config"]
    device = choose_device(settings["device"])
    os.environ.setdefault(
        "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
    )  # cuBLAS repeats itself only with a fixed workspace
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.allow_tf32 = False  # float32 is float32, as records say
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    torch.set_num_threads(
        int(os.environ.get("OMP_NUM_THREADS", "1"))
    )  # the workflow says; sums depend on it
    curvature_rule = parts.build(
        "curvature rule", config["rule"]["rule"], config["rule"]["parameters"]
    )
    model_name = config["model"]["name"]
    given = {k: v for k, v in config["model"].items() if k != "name"}
    dtype = parts.part("model", model_name).dtype
    like = torch.zeros((), dtype=dtype, device=device)
    task, sizes = _task(config, variant, data, seeds, like)
    model = parts.build("model", model_name, given, "model", space=curvature_rule.geometry, **sizes)

    if isinstance(task, NodeTask) and hasattr(model, "dropout") and model.dropout:
        task.drop(model.dropout, model.hidden)

    curvature = config["curvature"]
    transform = None
    if curvature_rule.geometry == "hyperbolic":
        if not model.curvature_names:
            raise InputError(
                f"experiments.{cell['experiment']}.methods: found {cell['method']!r};"
                f" {model_name}{' with this head' if 'head' in config['model'] else ''} has no"
                " curvature, allowed is curvature rule euclidean"
            )
        transform = Transform(curvature["transform"], tuple(curvature["bounds"]))
    columns = (
        len(model.curvature_names)
        if curvature["sharing"] == "per_layer"
        else min(1, len(model.curvature_names))
    )
    start = 0.0 if transform is None else transform.inverse(curvature["start"])
    bundle, w = Bundle.start(model, seeds, device)
    theta = torch.full((len(seeds), columns), start, dtype=dtype, device=device)
    rule, given = config["weights"]["rule"], config["weights"]["parameters"]
    filled: dict[str, Any] = (
        {"points": bundle.points} if "points" in parts.filled("weight rule", rule) else {}
    )
    weight_rule = parts.build("weight rule", rule, given, **filled)
    training = config["training"]
    plan = Plan(
        epochs=training["epochs"],
        weight_decay=training["weight_decay"],
        schedule=training["schedule"],
        evaluations=training["evaluations"],
        radius=config["measure"]["radius"],
        ascent_steps=config["measure"]["ascent_steps"],
    )
    return Prepared(task, model, bundle, weight_rule, curvature_rule, transform, plan, w, theta)


def train_seeds(
    settings: dict[str, Any],
    cell: dict[str, Any],
    seeds: list[int],
    variant: dict[str, Any],
    data: Path,
    change: Callable[[Prepared], Prepared] = lambda made: made,
) -> list[tuple[Record, np.ndarray]]:
    """Train the seeds of a cell in one process: their records, without the identity fields, and
    final weights (P,).

    A searching rule trains them several times. `change` what was prepared to train something else
    than the cell says. Raises TimeLimitError when one training takes longer than the settings'
    `time_limit` (s a run) times their number.
    """
    if not parts.marked("curvature rule", cell["config"]["rule"]["rule"], "searches"):
        return _training(settings, cell, seeds, variant, data, change)[0]

    def train_at(some: list[int], theta: Tensor) -> list[Training]:
        runs, made, out = _training(
            settings,
            cell,
            some,
            variant,
            data,
            lambda made: replace(change(made), theta=theta.to(made.theta)),
        )
        with torch.no_grad():
            tempered = tempered_loss(*made.task.held_out_logits(made.bundle, out.w, out.c)).tolist()
        return [
            (record, weights, Trial(theta[i], run_score(record), tempered[i]))
            for i, (record, weights) in enumerate(runs)
        ]

    made = prepare(settings, cell, seeds, variant, data)
    assert made.transform is not None
    rule: Any = made.curvature_rule
    return search(rule, seeds, made.theta, made.transform, train_at)


def _training(
    settings: dict[str, Any],
    cell: dict[str, Any],
    seeds: list[int],
    variant: dict[str, Any],
    data: Path,
    change: Callable[[Prepared], Prepared],
) -> tuple[list[tuple[Record, np.ndarray]], Prepared, Outcome]:
    """One training of the seeds: records and weights, and what was trained and what came of it."""
    started = time.perf_counter()
    limit = settings["time_limit"]
    made = change(prepare(settings, cell, seeds, variant, data))
    task, model, bundle, w = made.task, made.model, made.bundle, made.w
    outcome = train(
        task,
        bundle,
        w,
        made.theta,
        made.weight_rule,
        made.curvature_rule,
        made.transform,
        made.plan,
        normals(seeds, w),
        math.inf if limit is None else started + limit * len(seeds),
    )
    embeddings = _embeddings(task, bundle, outcome, model)
    common = _common(settings, cell, seeds, started)
    runs = [
        (
            finite(
                common
                | {"seed": seed}
                | _results(outcome, i, model, task)
                | {"embedding": embeddings[i]}
            ),
            outcome.w[i].numpy(force=True),
        )
        for i, seed in enumerate(seeds)
    ]
    return runs, made, outcome


def _common(
    settings: dict[str, Any], cell: dict[str, Any], seeds: list[int], started: float
) -> Record:
    """What the records of seeds trained together share, whatever came of them; `started` as by
    perf_counter.
    """
    config = cell["config"]
    device = choose_device(settings["device"])
    hyperbolic = parts.part("curvature rule", config["rule"]["rule"]).geometry == "hyperbolic"
    plugins = fingerprint.of_plugins(config)
    return {
        "schema": 1,
        "experiment": cell["experiment"],
        **{k: config[k] for k in ("setting", "dataset")},
        "variant": config["variant"]["name"],
        "model": config["model"]["name"],
        "method": cell["method"],
        "weight_rule": config["weights"]["rule"],
        "curvature_rule": config["rule"]["rule"],
        "loss": config["loss"]["rule"],
        "start": config["curvature"]["start"] if hyperbolic else None,
        "config": config,
        **({"plugins": plugins} if plugins else {}),
        "versions": {"python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
        "host": platform.node(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "dtype": str(parts.part("model", config["model"]["name"]).dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "together": seeds,
        "tried": 1,
        "chosen": None,
        "seconds": (time.perf_counter() - started) / len(seeds),
        "peak_memory_mib": _peak_memory(device) / 2**20,
    }


def _peak_memory(device: torch.device) -> int:
    """Bytes: of a GPU since `prepare`, of the process since it began where it computes itself."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def normals(seeds: Sequence[int], w: Tensor) -> Callable[[str], Tensor]:
    """Standard normals of w's shape (R, P) by purpose, one stream a run."""
    streams: dict[str, list[torch.Generator]] = {}

    def normal(purpose: str) -> Tensor:
        streams.setdefault(purpose, [generator(seed, f"normal {purpose}") for seed in seeds])
        drawn = [
            torch.randn(w.shape[1], generator=g, dtype=torch.float64) for g in streams[purpose]
        ]
        return torch.stack(drawn).to(w)

    return normal


def _task(
    config: dict[str, Any], variant: dict[str, Any], data: Path, seeds: list[int], like: Tensor
) -> tuple[Any, dict[str, Any]]:
    """The task that a variant is for, and what its data decide of the model."""
    dataset, batch, trained = config["dataset"], config["training"]["batch"], config["loss"]
    if "episodes" in variant:
        few_shot = EpisodeTask(dataset, variant, data, seeds, batch, like, trained)
        given = {"inputs": few_shot.inputs, "way": few_shot.way, "shot": few_shot.shot}
        needs = parts.filled("model", config["model"]["name"])
        return few_shot, {name: value for name, value in given.items() if name in needs}
    if catalogue.entry(dataset).kind == "graph":
        task: Any = NodeTask(dataset, variant, data, seeds, like, trained)
    else:
        task = ImageTask(
            dataset, variant, data, seeds, batch, like, config["training"].get("augment"), trained
        )
    return task, {"inputs": task.inputs, "classes": task.classes}


def _results(outcome: Outcome, i: int, model: Any, task: Task) -> Record:
    """What run i of a bundle came to."""
    faults = {name: int(step[i]) for name, step in outcome.bad.items() if step[i] >= 0}
    first = min(faults, key=lambda name: faults[name], default=None)
    end = faults[first] if first else outcome.total + 1
    kept = [k for k, step in enumerate(outcome.steps) if step < end]
    metrics: list[Record] = [
        {"step": outcome.steps[k]}
        | {
            name: float(value[i])
            for name, value in outcome.metrics[k].items()
            if name != "test_right"
        }
        for k in kept
    ]
    selection = {
        "selected": lambda m: validation_score(m, task.selected_by),
        "last": lambda m: m["step"],
        "oracle": lambda m: m["test_accuracy"],
    }
    chosen = {rule: max(metrics, key=key) for rule, key in selection.items()} if metrics else None
    if chosen:  # test items or episodes are the second level of the statistics
        right = outcome.metrics[outcome.steps.index(chosen["selected"]["step"])]["test_right"][
            i
        ].tolist()
        chosen["selected"] = chosen["selected"] | {"test_right": right, "test_answers": task.asked}
    return {
        "status": "diverged" if first else "ok",
        "reason": f"{first} not finite at step {end}" if first else None,
        "steps": outcome.total,
        "gradients": outcome.gradients,
        "products": outcome.products,
        "held_out_batches": outcome.held_out_batches,
        "metrics": chosen,
        "selected_by": task.selected_by,
        "curvature": {"names": list(model.curvature_names), "final": outcome.c[i].tolist()},
        "sharpness": float(outcome.sharpness[-1][i]),
        "trajectory": {
            "step": [outcome.steps[k] for k in kept],
            "curvature": [outcome.curvature[k][i].tolist() for k in kept],
            "sharpness": [float(outcome.sharpness[k][i]) for k in kept],
            **{
                name: [m[name] for m in metrics]
                for name in ("train_nll", "validation_accuracy", "test_accuracy")
            },
        },
        "outer": (
            {
                "step": [step for step, _ in outcome.outer],
                **{
                    name: [log[name][i].tolist() for _, log in outcome.outer]
                    for name in ("value", "hypergradient", "residual", "fallback")
                },
            }
            if outcome.outer
            else None
        ),
        "landscape": {
            "alpha": SLICE.tolist(),
            **{
                name: [float(value[i]) for value in values]
                for name, values in outcome.landscape.items()
            },
        },
    }


def _embeddings(task: Any, bundle: Bundle, outcome: Outcome, model: Any) -> list[Record | None]:
    """Test points in the ball of each run, for hyperbolic models of two dimensions."""
    if getattr(model, "dim", 0) != 2 or model.space == "euclidean":
        return [None] * len(outcome.w)
    with torch.no_grad():
        u, labels = task.embedding(bundle, outcome.w, outcome.c)
    c = outcome.c[:, -1]
    found = []
    for i, x in enumerate(expmap0(u[i], c[i]) for i in range(len(u))):
        point = {"x": x.tolist(), "label": labels.tolist(), "c": float(c[i])}
        found.append(point if x.isfinite().all() else None)  # a diverged run has no picture
    return found


def finite(value: Any) -> Any:
    """The value with every NaN and infinity as None, so that it is valid JSON."""
    return json.loads(json.dumps(value), parse_constant=lambda _: None)


def select_bundle(
    cell: dict[str, Any], methods: list[str], indexes: list[Path], seeds: list[int], index: Path
) -> None:
    """The runs of a derived cell: per seed the candidate that is best on validation, the cost of
    all of them summed.

    A candidate that did not finish leaves nothing to choose: its status is the run's. Raises
    InputError naming a candidate's record that was edited or is missing.
    """
    found: dict[int, list[tuple[str, Record]]] = {seed: [] for seed in seeds}
    for method, source in zip(methods, indexes, strict=True):
        for _, record in read_records(source):
            if record["seed"] in found:
                found[record["seed"]].append((method, record))
    paths = {}
    for seed, records in found.items():
        paths[seed] = index.parent / f"seed{seed}.json"
        write_json(paths[seed], _best(cell, records))
    write_index(index, cell, paths)


def _best(cell: dict[str, Any], records: list[tuple[str, Record]]) -> Record:
    unfinished = [pair for pair in records if pair[1]["status"] not in FINAL]
    chosen, record = (
        unfinished[0] if unfinished else max(records, key=lambda pair: run_score(pair[1]))
    )
    summed = ("gradients", "products", "held_out_batches", "steps", "seconds")
    costs = {k: None if unfinished else sum(r[k] for _, r in records) for k in summed}
    if unfinished:
        record = record | {"reason": f"candidate {chosen}: {record['reason']}"}
        costs["seconds"] = sum(r["seconds"] for _, r in records)
    return record | {
        "method": cell["method"],
        "curvature_rule": cell["config"]["rule"]["rule"],
        "config": cell["config"],
        "config_hash": cell["hash"],
        "code": digest([r["code"] for _, r in records]),
        "chosen": None if unfinished else chosen,
        "tried": len(records),
        **costs,
    }
