"""Say how rules do on solved heads: their hypergradients, and where they end."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from hsac.files import read_json
from hsac.report import theory
from hsac.report.columns import MISSING
from hsac.report.frozen import NUMBER_OF_PROBLEMS, READINGS, WORDS
from hsac.report.tables import write

GRADIENTS, ENDS = "hypergradients_on_heads", "ends_on_heads"
KINDS = {GRADIENTS: "hypergradients", ENDS: "ends"}
KEYS = {GRADIENTS: ("objective", "solver"), ENDS: ("objective", "setting")}
HEADINGS = {
    GRADIENTS: {
        "objective": "Objective",
        "solver": "Solver of the implicit term",
        "cosine": "Cosine over c",
        "same_sign_percent": "Same sign (%)",
        "problems": NUMBER_OF_PROBLEMS,
    },
    ENDS: {
        "objective": "Objective",
        "setting": "Setting of the rule",
        "arrived_percent": "Ends at the minimiser (%)",
        "decades": "Median distance from it (decades of c)",
        "problems": NUMBER_OF_PROBLEMS,
    },
}
CAPTIONS = {
    GRADIENTS: "Implicit hypergradients at solved heads against differences",
    ENDS: "Where rules end, against the minimiser of what they minimise",
}
SETTINGS = {
    "exact": "as in the theory",
    "batches": "a batch for each level",
    "unsolved": "lower level not solved",
    "truncated": "three Neumann terms",
    "direct": "no implicit term",
    "interval": "c within a factor of 10 of its start",
    "all": "all of these but no implicit term",
}
NOTES = {
    GRADIENTS: (
        "At solved heads on frozen features: the implicit hypergradient in log c against the"
        " central difference of the objective at heads that are solved again. The cosine is"
        " between the two as vectors over the grid of c, averaged over seeds and problems; the"
        " sign is compared at each c. Perturbations count as constants in a hypergradient. That is"
        " right where the ascent has converged, and not of the one-step gap or of a scope whose"
        " scale moves with the weights."
    ),
    ENDS: (
        "Rules that start at several c and take outer steps of falling size: the share that ends"
        " within one step of the grid of the objective's minimiser there, and how far off they"
        " are. The first setting is the theory's (all rows, solved heads, an exact linear solve,"
        " the whole interval). The others change one thing, the last all of them."
    ),
}
SAME = 1.01  # an end counts as within one step of the grid up to this factor more


def read(results: Path, kind: str) -> pd.DataFrame:
    """Read what was found on every problem that rules are followed on.

    Args:
        results: The results folder, with ``settings.json``.
        kind: `hypergradients` or `ends`.

    Returns:
        The rows of all problems, with problem and dim. Empty where the study follows no rules.

    Raises:
        InputError: A file is missing or cut short.
    """
    found = []
    for path in files(results, kind):
        problem, dim = path.stem.rsplit("_", 1)
        found.append(theory.read_rows(path).assign(problem=problem, dim=int(dim)))
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def files(results: Path, kind: str) -> list[Path]:
    """Return the files of the problems that rules are followed on.

    Args:
        results: The results folder, with ``settings.json``.
        kind: `hypergradients` or `ends`.
    """
    path = Path(results) / "settings.json"
    frozen = (read_json(path).get("frozen") if path.is_file() else None) or {}
    found = []
    for name in (frozen.get("rules") or {}).get("problems", []):
        for dim in frozen["problems"][name]["dims"]:
            found.append(Path(results) / "frozen" / kind / f"{name}_{dim}.csv")
    return found


def hypergradients(rows: pd.DataFrame) -> pd.DataFrame:
    """Compare hypergradients with differences.

    Args:
        rows: Rows of `read`: problem, dim, objective, solver, seed, c, difference, hypergradient.

    Returns:
        One row an objective and solver: cosine, same_sign_percent, problems.
    """
    out = []
    for (objective, solver), group in rows.groupby(["objective", "solver"], sort=False):
        cosines = [_cosine(one) for _, one in group.groupby(["problem", "dim", "seed"])]
        same = np.sign(group["difference"]) == np.sign(group["hypergradient"])
        # Where nothing moves there is no angle.
        known = [cosine for cosine in cosines if not np.isnan(cosine)]
        cosine = float(np.mean(known)) if known else float("nan")
        row = {"objective": objective, "solver": solver, "cosine": cosine}
        row["same_sign_percent"] = 100 * float(same.mean())
        out.append(row | {"problems": group["problem"].nunique()})
    return pd.DataFrame(out, columns=list(HEADINGS[GRADIENTS]))


def _cosine(rows: pd.DataFrame) -> float:
    a, b = rows["difference"].to_numpy(), rows["hypergradient"].to_numpy()
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / length if length > 0 else float("nan")


def ends(rows: pd.DataFrame, step: float) -> pd.DataFrame:
    """Compare where rules end with the minimisers of what they minimise.

    Args:
        rows: Rows of `read`: problem, dim, objective, setting, start, seed, end, minimiser.
        step: Factor from one c of the grid to the next.

    Returns:
        One row an objective and setting: arrived_percent, decades, problems.
    """
    out = []
    for (objective, setting), group in rows.groupby(["objective", "setting"], sort=False):
        off = (group["end"] / group["minimiser"]).map(np.log10).abs()
        row = {"objective": objective, "setting": setting}
        row["arrived_percent"] = 100 * float((off <= np.log10(step * SAME)).mean())
        row["decades"] = float(off.median())
        out.append(row | {"problems": group["problem"].nunique()})
    return pd.DataFrame(out, columns=list(HEADINGS[ENDS]))


def grid_step(results: Path) -> float:
    """Return the factor from one c of the grid to the next.

    Args:
        results: The results folder, with ``settings.json``.
    """
    grid = read_json(Path(results) / "settings.json")["frozen"]["curvatures"]
    return float((grid["high"] / grid["low"]) ** (1 / (grid["points"] - 1)))


def numbers(results: Path, name: str) -> pd.DataFrame:
    """Return the numbers of a table, empty where the study follows no rules.

    Args:
        results: The results folder.
        name: `hypergradients_on_heads` or `ends_on_heads`.
    """
    rows = read(results, KINDS[name])
    if rows.empty:
        return pd.DataFrame(columns=list(HEADINGS[name]))
    return hypergradients(rows) if name == GRADIENTS else ends(rows, grid_step(results))


def displayed(table: pd.DataFrame) -> pd.DataFrame:
    """Turn a table into text to print.

    Args:
        table: What `numbers` returns.

    Returns:
        The cells as text.
    """
    headings = HEADINGS[GRADIENTS if "solver" in table else ENDS]
    shown: dict[str, Sequence[str]] = {}
    for name, heading in headings.items():
        if name == "objective":
            shown[heading] = [_objective(value) for value in table[name]]
        elif name == "setting":
            shown[heading] = [SETTINGS.get(value, value) for value in table[name]]
        elif name in ("cosine", "decades"):
            shown[heading] = [MISSING if pd.isna(v) else f"{v:.2f}" for v in table[name]]
        elif name.endswith("_percent"):
            shown[heading] = [f"{value:.0f}" for value in table[name]]
        else:
            shown[heading] = [str(value) for value in table[name]]
    return pd.DataFrame(shown)


def _objective(name: str) -> str:
    known = {"validation_nll": WORDS["validation"]} | READINGS | WORDS
    return known.get(name, name)


def write_rule_tables(results: Path, out_dir: Path) -> None:
    """Write ``hypergradients_on_heads`` and ``ends_on_heads`` as .csv, .md and .tex.

    A study that follows no rules on solved heads has neither.

    Args:
        results: The results folder. The rows lie in ``frozen/hypergradients`` and ``frozen/ends``.
        out_dir: The folder to write into.

    Raises:
        InputError: A file is missing or cut short.
    """
    for name in KINDS:
        table = numbers(results, name)
        if len(table):
            write(Path(out_dir), name, table, displayed(table), NOTES[name])
