"""From a cell and its seeds to one record a run."""

import json
import os
import platform
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hsac import fingerprint, registry
from hsac.ball import Transform, exp0
from hsac.data import load_variant
from hsac.errors import InputError
from hsac.files import digest, file_sha256, read_json, write_array, write_json
from hsac.rules.types import CurvatureRule, WeightRule
from hsac.train.bundle import Bundle
from hsac.train.loop import SLICE, Outcome, Plan, train
from hsac.train.seeds import generator
from hsac.train.tasks import EpisodeTask, ImageTask, NodeTask

Record = dict[str, Any]
PACKAGES = ("torch", "geoopt", "torch-geometric", "learn2learn", "datasets", "numpy", "scipy", "pillow", "matplotlib")


def choose_device(wanted: str) -> torch.device:
    """`auto` is the first GPU or else the CPU. Raises InputError when the GPU asked for is not there."""
    count = torch.cuda.device_count()
    if wanted == "auto":
        return torch.device("cuda:0" if count else "cpu")
    device = torch.device(wanted)
    if device.type == "cuda" and (device.index or 0) >= count:
        raise InputError(
            f"device: found {wanted!r}; allowed here is auto, cpu" + "".join(f", cuda:{i}" for i in range(count))
        )
    return device


def run_bundle(
    settings: dict[str, Any], cell: dict[str, Any], seeds: list[int], variant: Path, data: Path, index: Path
) -> None:
    """Train the seeds of a cell whose records are not there yet, write a record each, then the bundle's index.

    A record counts as there when its configuration, code and variant are the present ones and its weights lie beside
    it. Records lie beside the index as `seed<k>.json`, final weights as `seed<k>.npy`; neither is ever deleted, so a
    bundle that was cut short resumes.
    """
    chosen = load_variant(variant)
    code = fingerprint.of_training(cell["config"])
    identity = {"config_hash": cell["hash"], "code": code, "variant_hash": chosen["hash"]}
    paths = {seed: index.parent / f"seed{seed}.json" for seed in seeds}
    missing = [seed for seed in seeds if not _is_done(paths[seed], identity)]
    if missing:
        together = registry.part("model", cell["config"]["model"]["name"]).vmapped
        for group in [missing] if together else [[seed] for seed in missing]:
            for record, weights in train_seeds(settings, cell, group, chosen, data):
                path = paths[record["seed"]]
                write_array(path.with_suffix(".npy"), weights)
                write_json(path, record | identity | {"weights": file_sha256(path.with_suffix(".npy"))})
    write_index(index, cell, paths)


def write_index(index: Path, cell: dict[str, Any], paths: dict[int, Path]) -> None:
    """The bundle's index: each run's record and the digest of its bytes."""
    runs = [{"seed": seed, "path": path.name, "sha256": file_sha256(path)} for seed, path in sorted(paths.items())]
    write_json(index, {"schema": 1, "experiment": cell["experiment"], "method": cell["method"], "runs": runs})


def _is_done(path: Path, identity: dict[str, str]) -> bool:
    try:
        record = read_json(path)
    except InputError:
        return False
    same = isinstance(record, dict) and all(record.get(k) == v for k, v in identity.items())
    weights = path.with_suffix(".npy")
    return same and weights.is_file() and file_sha256(weights) == record["weights"]


@dataclass(frozen=True)
class Prepared:
    """A cell and its seeds made ready: task, model, bundle, rules, plan, start weights (R, P) and start θ (R, C)."""

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
    settings: dict[str, Any], cell: dict[str, Any], seeds: list[int], variant: dict[str, Any], data: Path
) -> Prepared:
    """Build what trains the seeds of a cell, in deterministic mode on the device of the settings."""
    config = cell["config"]
    device = choose_device(settings["device"])
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats itself only with a fixed workspace
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))  # the workflow says; sums depend on it
    weight_rule = registry.build("weight rule", config["weights"]["rule"], config["weights"]["parameters"])
    curvature_rule = registry.build("curvature rule", config["rule"]["rule"], config["rule"]["parameters"])
    model_name = config["model"]["name"]
    given = {k: v for k, v in config["model"].items() if k != "name"}
    dtype = registry.part("model", model_name).dtype
    like = torch.zeros((), dtype=dtype, device=device)
    task, sizes = _task(config, variant, data, seeds, like)
    model = registry.build("model", model_name, given, "model", space=curvature_rule.geometry, **sizes)

    curvature = config["curvature"]
    transform = None
    if curvature_rule.geometry == "hyperbolic":
        transform = Transform(curvature["transform"], tuple(curvature["bounds"]))
    columns = len(model.curvature_names) if curvature["sharing"] == "per_layer" else 1
    start = 0.0 if transform is None else transform.inverse(curvature["start"])
    bundle, w = Bundle.start(model, seeds, device)
    theta = torch.full((len(seeds), columns), start, dtype=dtype, device=device)
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
    settings: dict[str, Any], cell: dict[str, Any], seeds: list[int], variant: dict[str, Any], data: Path
) -> list[tuple[Record, np.ndarray]]:
    """Train the seeds of a cell in one process: their records, without the identity fields, and final weights (P,)."""
    started = time.perf_counter()
    config = cell["config"]
    made = prepare(settings, cell, seeds, variant, data)
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
    )
    embeddings = _embeddings(task, bundle, outcome, model)
    seconds = (time.perf_counter() - started) / len(seeds)
    common = {
        "schema": 1,
        "experiment": cell["experiment"],
        **{k: config[k] for k in ("setting", "dataset")},
        "variant": config["variant"]["name"],
        "model": config["model"]["name"],
        "method": cell["method"],
        "weight_rule": config["weights"]["rule"],
        "curvature_rule": config["rule"]["rule"],
        "start": None if made.transform is None else config["curvature"]["start"],
        "config": config,
        "versions": {"python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
        "host": platform.node(),
        "device": torch.cuda.get_device_name(w.device) if w.device.type == "cuda" else "cpu",
        "dtype": str(w.dtype).removeprefix("torch."),
        "tried": 1,
        "chosen": None,
        "seconds": seconds,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    return [
        (
            finite(common | {"seed": seed, "embedding": embeddings[i]} | _results(outcome, i, model)),
            outcome.w[i].numpy(force=True),
        )
        for i, seed in enumerate(seeds)
    ]


def normals(seeds: Sequence[int], w: Tensor) -> Callable[[str], Tensor]:
    """Standard normals of w's shape (R, P) by purpose, one stream a run."""
    streams: dict[str, list[torch.Generator]] = {}

    def normal(purpose: str) -> Tensor:
        streams.setdefault(purpose, [generator(seed, f"normal {purpose}") for seed in seeds])
        drawn = [torch.randn(w.shape[1], generator=g, dtype=torch.float64) for g in streams[purpose]]
        return torch.stack(drawn).to(w)

    return normal


def _task(
    config: dict[str, Any], variant: dict[str, Any], data: Path, seeds: list[int], like: Tensor
) -> tuple[Any, dict[str, Any]]:
    """The task that a variant is for, and what its data decide of the model."""
    dataset, batch = config["dataset"], config["training"]["batch"]
    if "episodes" in variant:
        few_shot = EpisodeTask(dataset, variant, data, seeds, batch, like)
        return few_shot, {"inputs": few_shot.inputs, "shot": few_shot.shot}
    if variant["recipe"]["recipe"] == "node_split":
        task: Any = NodeTask(dataset, variant, data, seeds, like)
    else:
        task = ImageTask(dataset, variant, data, seeds, batch, like)
    return task, {"inputs": task.inputs, "classes": task.classes}


def _results(outcome: Outcome, i: int, model: Any) -> Record:
    """What run i of a bundle came to."""
    faults = {name: int(step[i]) for name, step in outcome.bad.items() if step[i] >= 0}
    first = min(faults, key=lambda name: faults[name], default=None)
    end = faults[first] if first else outcome.total + 1
    kept = [k for k, step in enumerate(outcome.steps) if step < end]
    metrics = [
        {"step": outcome.steps[k], **{name: float(value[i]) for name, value in outcome.metrics[k].items()}}
        for k in kept
    ]
    selection = {
        "selected": lambda m: (m["validation_accuracy"], -m["validation_nll"]),
        "last": lambda m: m["step"],
        "oracle": lambda m: m["test_accuracy"],
    }
    return {
        "status": "diverged" if first else "ok",
        "reason": f"{first} not finite at step {end}" if first else None,
        "steps": outcome.total,
        "gradients": outcome.gradients,
        "products": outcome.products,
        "metrics": {rule: max(metrics, key=key) for rule, key in selection.items()} if metrics else None,
        "curvature": {"names": list(model.curvature_names), "final": outcome.c[i].tolist()},
        "sharpness": float(outcome.sharpness[-1][i]),
        "trajectory": {
            "step": [outcome.steps[k] for k in kept],
            "curvature": [outcome.curvature[k][i].tolist() for k in kept],
            "sharpness": [float(outcome.sharpness[k][i]) for k in kept],
            **{name: [m[name] for m in metrics] for name in ("train_nll", "validation_accuracy", "test_accuracy")},
        },
        "outer": {
            "step": [step for step, _ in outcome.outer],
            **{
                name: [log[name][i].tolist() for _, log in outcome.outer]
                for name in ("value", "hypergradient", "residual", "fallback")
            },
        }
        if outcome.outer
        else None,
        "landscape": {
            "alpha": SLICE.tolist(),
            **{name: [float(value[i]) for value in values] for name, values in outcome.landscape.items()},
        },
    }


def _embeddings(task: Any, bundle: Bundle, outcome: Outcome, model: Any) -> list[Record | None]:
    """Test points in the ball of each run, for hyperbolic models of two dimensions."""
    if getattr(model, "dim", 0) != 2 or model.space == "euclidean":
        return [None] * len(outcome.w)
    with torch.no_grad():
        u, labels = task.embedding(bundle, outcome.w, outcome.c)
    c = outcome.c[:, -1]
    return [{"x": exp0(u[i], c[i]).tolist(), "label": labels.tolist(), "c": float(c[i])} for i in range(len(outcome.w))]


def finite(value: Any) -> Any:
    """The value with every NaN and infinity as None, so that it is valid JSON."""
    return json.loads(json.dumps(value), parse_constant=lambda _: None)


def select_bundle(cell: dict[str, Any], methods: list[str], indexes: list[Path], seeds: list[int], index: Path) -> None:
    """The runs of a derived cell: per seed the candidate that is best on validation, the cost of all of them summed."""
    found: dict[int, list[tuple[str, Record]]] = {seed: [] for seed in seeds}
    for method, source in zip(methods, indexes, strict=True):
        for run in read_json(source)["runs"]:
            if run["seed"] in found:
                found[run["seed"]].append((method, read_json(source.parent / run["path"])))
    paths = {}
    for seed, records in found.items():
        paths[seed] = index.parent / f"seed{seed}.json"
        write_json(paths[seed], _best(cell, records))
    write_index(index, cell, paths)


def _best(cell: dict[str, Any], records: list[tuple[str, Record]]) -> Record:
    def score(pair: tuple[str, Record]) -> tuple[bool, float, float]:
        record = pair[1]
        selected = (record["metrics"] or {}).get("selected")
        if selected is None:
            return (False, 0.0, 0.0)
        nll = selected["validation_nll"]
        return (record["status"] == "ok", selected["validation_accuracy"], -nll if nll is not None else float("-inf"))

    chosen, record = max(records, key=score)
    return record | {
        "method": cell["method"],
        "curvature_rule": cell["config"]["rule"]["rule"],
        "config": cell["config"],
        "config_hash": cell["hash"],
        "code": digest([r["code"] for _, r in records]),
        "chosen": chosen,
        "tried": len(records),
        **{k: sum(r[k] for _, r in records) for k in ("gradients", "products", "steps", "seconds")},
    }
