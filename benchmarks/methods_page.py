"""Write docs/methods.md from the results of the scale methods.

`python -m benchmarks.methods_page` fills the tables into methods_page.template beside this file,
where the headings and the prose are. Accuracies, NLLs and points tried are those of
results/methods/tables. What a row is above chance is computed from the runs behind them.
"""

import argparse
import string
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from hsac.data import catalogue
from hsac.errors import InputError
from hsac.files import write_bytes
from hsac.report.columns import MISSING, mean_text, number
from hsac.report.statistics import METRIC, Mean, Replicates, mean_interval
from hsac.study import load
from hsac.study.models import Study

ROOT = Path(__file__).parent.parent
TEMPLATE = Path(__file__).with_name("methods_page.template")
RESULTS = ROOT / "results" / "methods"
PAGE = ROOT / "docs" / "methods.md"
BALANCED = "selected_test_balanced_accuracy"
# Column of an experiment's table, heading and format. A table has those that its setting has.
SHOWN = (
    ("test_nll_nats", "Test NLL (nats)", "{:.3f}"),
    ("head_accuracy_percent", "Head (%)", "{:.1f}"),
    ("tail_accuracy_percent", "Tail (%)", "{:.1f}"),
    ("memorisation_percent", "Memorised (%)", "{:.1f}"),
    ("points_tried", "Points tried", "{:.0f}"),
)


@dataclass(frozen=True)
class Scale:
    """The scale methods with its results.

    Attributes:
        study: The study.
        results: Its results folder.
        runs: One row a run.
    """

    study: Study
    results: Path
    runs: pd.DataFrame

    @classmethod
    def read(cls, results: Path) -> "Scale":
        """Read the results of the shipped scale.

        Args:
            results: Its results folder.

        Returns:
            The scale.

        Raises:
            InputError: The folder holds no gathered runs.
        """
        path = _found(results / "runs.parquet")
        return cls(load.load("methods", folder=ROOT / "config"), results, pd.read_parquet(path))

    def chance(self, experiment: str) -> float:
        """Compute what guessing reaches in an experiment.

        Args:
            experiment: Its name.

        Returns:
            The accuracy (%) of guesses, averaged over the classes.
        """
        found = self.study.experiments[experiment]
        if found.setting == "few_shot":
            return 100 / int(found.variant.parameters["way"])
        classes = catalogue.entry(found.dataset).counts["classes"]
        return 100 / (classes["test"] if isinstance(classes, dict) else classes)

    def accuracy(self, experiment: str, method: str) -> Mean:
        """Compute the test accuracy (%) of a method, averaged over the classes.

        Args:
            experiment: Name of the experiment.
            method: Name of the method.

        Returns:
            The mean over seeds with its 95 % interval.
        """
        # Episodes hold as many queries of every class, so their accuracy is balanced as it is.
        few_shot = self.study.experiments[experiment].setting == "few_shot"
        metric = METRIC if few_shot else BALANCED
        return mean_interval(Replicates(self.runs, experiment, method, metric, scale=100))


def table(scale: Scale, experiment: str) -> str:
    """Write the table of an experiment.

    Args:
        scale: The scale.
        experiment: Name of the experiment.

    Returns:
        Markdown: what was trained on what, and one row a method.

    Raises:
        InputError: The experiment has no table.
    """
    numbers = pd.read_csv(_found(scale.results / "tables" / f"{experiment}.csv"))
    shown = {"Method": [f"`{method}`" for method in numbers["method"]]}
    pairs = zip(
        numbers["test_accuracy_percent"], numbers["test_accuracy_half_width_percent"], strict=True
    )
    shown["Test accuracy (%)"] = [mean_text(*pair) for pair in pairs]
    chance = scale.chance(experiment)
    found = [scale.accuracy(experiment, method) for method in numbers["method"]]
    shown[f"Above chance of {chance:g} % (points)"] = [above(one, chance) for one in found]
    for name, heading, pattern in SHOWN:
        if name in numbers:
            shown[heading] = [number(pattern)(value) for value in numbers[name]]
    rows = [list(shown), ["---"] * len(shown), *zip(*shown.values(), strict=True)]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([caption(scale.study, experiment), "", *lines])


def caption(study: Study, experiment: str) -> str:
    """Say what an experiment trains on what.

    Args:
        study: The study.
        experiment: Name of the experiment.

    Returns:
        A sentence without a verb.
    """
    found = study.experiments[experiment]
    epochs, seeds = found.training.epochs, len(study.seeds_of(experiment))
    data = f"`{found.dataset}`, variant `{found.variant.name}`"
    length = f"{epochs} epoch{'' if epochs == 1 else 's'}, {seeds} seeds"
    return f"`{experiment}`: {data}, model `{found.model.name}`, {length}."


def above(found: Mean, chance: float) -> str:
    """Print how far an accuracy is above chance.

    Args:
        found: The accuracy (%).
        chance: That of guesses (%).

    Returns:
        The difference in points with its interval. "no" leads where the interval reaches chance.
    """
    if pd.isna(found.mean):
        return MISSING
    signed = number("{:+.1f}")
    ends = f"[{signed(found.low - chance)}, {signed(found.high - chance)}]"
    text = f"{signed(found.mean - chance)} {ends}"
    return text if found.low > chance else f"no: {text}"


def summary(scale: Scale) -> str:
    """Count the rows that are above chance and the runs that did not finish.

    Args:
        scale: The scale.

    Returns:
        One sentence for each, with the names of rows that are not above chance.
    """
    missed, count = [], 0
    for name, experiment in scale.study.experiments.items():
        for method in experiment.methods:
            count += 1
            # A row without a finished run has NaN, which is above nothing.
            if not scale.accuracy(name, method).low > scale.chance(name):
                missed.append(f"`{method}` in `{name}`")
    lost = int((scale.runs["status"] != "ok").sum())
    rows = f"Of {count} rows {count - len(missed)} are above chance with their whole interval."
    names = f" Not so: {', '.join(missed)}." if missed else ""
    return f"{rows}{names} Of {len(scale.runs)} runs {lost} did not finish."


def page(scale: Scale) -> str:
    """Write the page.

    Args:
        scale: The scale.

    Returns:
        Markdown.

    Raises:
        InputError: An experiment has no table.
    """
    tables = {experiment: table(scale, experiment) for experiment in scale.study.experiments}
    template = string.Template(TEMPLATE.read_text(encoding="utf-8"))
    return template.substitute(tables, summary=summary(scale))


def _found(path: Path) -> Path:
    if not path.is_file():
        run = "snakemake --cores 8 --config scale=methods"
        raise InputError(f"{path} is missing; run: {run}")
    return path


def main() -> None:
    """Write the page."""
    about = __doc__.partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.methods_page", description=about)
    parser.add_argument("--results", type=Path, default=RESULTS, help="results of the scale")
    parser.add_argument("--output", type=Path, default=PAGE, help="the page, docs/methods.md")
    given = parser.parse_args()
    try:
        text = page(Scale.read(given.results))
    except InputError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    write_bytes(given.output, text.encode())


if __name__ == "__main__":
    main()
