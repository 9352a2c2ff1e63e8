"""docs/recipes.md as a reader uses it: its files in a folder, run, and what each of them says."""

import copy
import re
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from test_learner_checks import Wrapped
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import hsac
from hsac.ball import clip_norm, mlr_logits_tangent
from hsac.errors import InputError

PAGE = (Path(__file__).parent.parent / "docs/recipes.md").read_text()
FILES = dict(re.findall(r"```python\n# (\S+)\n(.*?)```", PAGE, re.DOTALL))
LAUNCHED = "parallel.py"
PLAIN = ("with_geoopt.py", "accumulation.py", "mixed_precision.py", "averaged.py")
Run = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run a file, with words in it replaced, and return its globals."""
    monkeypatch.syspath_prepend(folder)

    def run(name: str, *replaced: tuple[str, str]) -> dict[str, Any]:
        text = FILES[name]
        for old, new in replaced:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (folder / name).write_text(text)
        for module in ("net", "plain"):
            sys.modules.pop(module, None)
        with torch.random.fork_rng():
            return runpy.run_path(str(folder / name))

    yield run
    for module in ("net", "plain"):
        sys.modules.pop(module, None)


def test_recipes_are_short() -> None:
    for name, text in FILES.items():
        lines = [line for line in text.splitlines() if line.strip()]
        assert len(lines) <= 25, name
    assert {*PLAIN, LAUNCHED, "with_hypll.py", "net.py", "plain.py"} == set(FILES)


@pytest.mark.parametrize("name", PLAIN)
def test_recipes_learn(run: Run, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Weights and curvatures: chance is 0.1, and c began at 0.1."""
    found = run(name)
    said = re.search(r"test accuracy ([\d.]+)", capsys.readouterr().out)
    assert float(said[1]) > 0.7
    (theta,) = (p for n, p in found["model"].named_parameters() if n.endswith("theta"))
    assert abs(theta.exp().item() / 0.1 - 1) > 0.01


def batch(seed: int, n: int = 64) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 64, generator=g, dtype=torch.float64)
    return x, torch.randint(10, (n,), generator=g)


def outer_step(model: nn.Module, loss: Any, *batches: Any) -> dict[str, Any]:
    optimizer = torch.optim.SGD(hsac.weights(model), lr=0.1, weight_decay=5e-4)
    learner = hsac.CurvatureLearner(model, optimizer, loss, period=1)
    log = learner.step(*batches)
    assert not log["fallback"]
    return {key: log[key] for key in ("value", "hypergradient", "curvature")}


def test_micro_batches_are_the_large_batch(run: Run) -> None:
    """Their outer step is that of the rows together, not that of one of them."""
    found = run("accumulation.py", ("range(60)", "range(1)"))
    start = copy.deepcopy(found["model"]).double()
    several = [[batch(10 * level + i) for i in range(4)] for level in range(3)]
    large = [tuple(map(torch.cat, zip(*level, strict=True))) for level in several]
    model = copy.deepcopy(start)
    plain = lambda rows: cross_entropy(model(rows[0]), rows[1])  # noqa: E731
    wanted = outer_step(model, plain, *large)
    # the file's own function, at the same weights as `plain`
    model = found["loss"].__globals__["model"] = copy.deepcopy(start)
    of_list = outer_step(model, found["loss"], *several)
    for key in ("hypergradient", "curvature"):
        assert of_list[key] == pytest.approx(wanted[key], rel=1e-9)
    model = copy.deepcopy(start)
    of_one = outer_step(model, plain, *(level[0] for level in several))
    assert of_one["hypergradient"] != pytest.approx(wanted["hypergradient"], rel=1e-3)


def test_scale_never_reaches_the_curvature(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power of two changes no digit of bfloat16, so whole trainings agree."""
    # float16 of a GPU has not the range for it
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    few = ("range(100)", "range(20)")
    whole = "torch.amp.GradScaler(device)"
    kinds, found = set(), []
    hook = nn.modules.module.register_module_forward_hook(
        lambda module, given, out: kinds.add(out.dtype) if isinstance(module, nn.Linear) else None
    )
    try:
        for scale in ("1.0", "65536.0"):
            scaled = f"torch.amp.GradScaler(device, init_scale={scale})"
            names = run("mixed_precision.py", few, (whole, scaled))
            assert names["scaler"].is_enabled()
            assert names["scaler"].get_scale() == float(scale)
            found.append(names["model"].c().item())
    finally:
        hook.remove()
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    assert found[0] != pytest.approx(0.1)
    # the weights' loss, and the learner's
    assert kinds == {torch.bfloat16, torch.float32}


def test_scaled_losses_scale_hypergradients() -> None:
    """Which is what goes wrong where the learner is given one."""
    found = []
    for scale in (1.0, 1024.0):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 10).double(), hsac.Curvature(0.1))
        optimizer = torch.optim.SGD(hsac.weights(model), lr=0.1)

        def loss(rows: Any, model: Any = model, scale: float = scale) -> Tensor:
            decay = sum(w.square().sum() for w in model[0].parameters())
            logits = model[0](rows[0][:, :8]) * model[1]()
            return scale * (cross_entropy(logits, rows[1]) + 0.01 * decay)

        exact = {"objective": "loss", "solver": {"name": "exact"}, "period": 1}
        log = hsac.CurvatureLearner(model, optimizer, loss, **exact).step(batch(0), batch(1))
        found.append(log["hypergradient"]["1.theta"])
    assert found[1] == pytest.approx(1024 * found[0], rel=1e-9)


def test_theta_is_averaged_with_the_weights(run: Run) -> None:
    """As by hand, from the start on, and no learner moves the average."""
    update, loop = "averaged.update_parameters(model)", "for _ in range(100):"
    found = run(
        "averaged.py",
        (loop, f"seen = []\n{loop}"),
        (update, f"{update}\n    seen.append(model.c.theta.item())"),
    )
    by_hand, *others = found["seen"]
    for theta in others:
        by_hand = 0.95 * by_hand + 0.05 * theta
    averaged = found["averaged"].module.c
    assert averaged.theta.item() == pytest.approx(by_hand, rel=1e-6)
    assert averaged.learners == 0
    assert found["model"].c.theta.item() != pytest.approx(by_hand, rel=1e-3)


def test_averaged_weights_fit_averaged_curvatures() -> None:
    """Better than the last one, where weights are trained to the end at each of many curvatures."""
    torch.manual_seed(0)
    x, y = torch.randn(40, 3, dtype=torch.float64), torch.randint(3, (40,))
    weights, path = [], torch.linspace(-2.0, 0.0, 9, dtype=torch.float64)
    w = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)

    def lower(w: Tensor, theta: Tensor) -> Tensor:
        logits = mlr_logits_tangent(x, w, torch.zeros(3).double(), theta.exp())
        return cross_entropy(logits, y) + 0.05 * w.square().sum()

    def slope(w: Tensor, theta: Tensor) -> float:
        at = w.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(lower(at, theta), at)
        return float(gradient.norm())

    with torch.no_grad():
        w.copy_(torch.randn(3, 3) / 4)
    for theta in path:
        optimizer = torch.optim.LBFGS([w], max_iter=500, line_search_fn="strong_wolfe")

        def closure(optimizer: Any = optimizer, theta: Tensor = theta) -> Tensor:
            optimizer.zero_grad()
            value = lower(w, theta)
            value.backward()
            return value

        optimizer.step(closure)
        assert slope(w, theta) < 1e-3
        weights.append(w.detach().clone())
    mean = torch.stack(weights).mean(0)
    assert slope(mean, path.mean()) < slope(mean, path[-1]) / 2


@pytest.mark.slow
def test_curvatures_are_equal_on_ranks(folder: Path) -> None:
    """To the last digit, and moved, by the command of the page."""
    command = ["--standalone", "--nproc-per-node", "2", LAUNCHED]
    assert f"torchrun {' '.join(command)}" in PAGE
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *command],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    said = re.findall(r"rank (\d): c (\S+), test accuracy (\S+)", done.stdout)
    assert sorted(rank for rank, _, _ in said) == ["0", "1"]
    assert len({c for _, c, _ in said}) == 1
    assert abs(float(said[0][1]) / 0.1 - 1) > 0.01
    assert all(float(accuracy) > 0.7 for _, _, accuracy in said)


def test_hypll_refusal_is_the_pages(run: Run) -> None:
    """The page quotes the sentence that a stand-in of HypLL's parameters gets."""
    model = run("plain.py")["Net"]()
    model.head = nn.Module()
    model.head.z = Wrapped(torch.zeros(3))
    with pytest.raises(InputError) as refused:
        hsac.CurvatureLearner(model, torch.optim.SGD(hsac.weights(model), lr=0.1), len)
    quoted = re.search(r"`(optimizer: found 'head\.z' of type .*?)`", PAGE, re.DOTALL)[1]
    own = f"{Wrapped.__module__}.{Wrapped.__name__}"
    theirs = "hypll.tensors.manifold_parameter.ManifoldParameter"
    assert str(refused.value).replace(own, theirs) == " ".join(quoted.split())


def test_hypll_recipe_is_hsacs_head(run: Run) -> None:
    """Where it is installed: its functions give the logits of `mlr_logits_tangent`."""
    pytest.importorskip("hypll")
    found = run("with_hypll.py")
    model, x = found["model"].double(), batch(0)[0]
    u = clip_norm(model.f(x), 2.0)
    wanted = mlr_logits_tangent(u, model.z.mT, model.r, model.c())
    torch.testing.assert_close(model(x), wanted)
    assert model.c().item() != pytest.approx(0.1, rel=1e-2)
