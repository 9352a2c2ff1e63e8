"""Compare the speed of two states of the repository: `python -m benchmarks.house_speed OLD NEW`.

Each tree plans, dry-runs and gathers by its own `benchmarks/size.py`, by turns in folders of their
own. What counts is the least CPU time of the repeats, which other work on the machine lengthens
least.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

# Runs in a tree's own process: the names of its modules differ between states.
MEASURE = """
import json, sys
from pathlib import Path
from benchmarks import size
for name in ("Snakefile", "workflow", "config", "profiles", "environment.yml"):
    Path(name).symlink_to(size.ROOT / name)
for row in size.rows(int(sys.argv[1])):
    print(json.dumps(row), flush=True)
"""


def measured(tree: Path, runs: int) -> dict[str, float]:
    """Measure a tree once.

    Args:
        tree: root of a state of the repository.
        runs: about how many runs the study has.

    Returns:
        CPU seconds by what was measured.
    """
    given = {"PYTHONPATH": str(tree), "HSAC_DATA": "data", "HSAC_MIRROR": ""}
    command = [sys.executable, "-c", MEASURE, str(runs)]
    with tempfile.TemporaryDirectory() as folder:
        output = subprocess.run(
            command, cwd=folder, env=os.environ | given, check=True, stdout=subprocess.PIPE
        ).stdout
    rows = [json.loads(line) for line in output.splitlines()]
    return {f"{row['measured']}, {row['jobs']} jobs": row["cpu_seconds"] for row in rows}


def main() -> None:
    """Print the CPU seconds of both trees and their ratio."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.house_speed", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("old", type=Path, help="a checkout to compare with")
    parser.add_argument("new", type=Path, help="the checkout that is compared")
    parser.add_argument("--runs", type=int, default=10_000, help="about how many runs to plan")
    parser.add_argument("--repeats", type=int, default=3, help="how often each is measured")
    given = parser.parse_args()
    trees = [tree.resolve() for tree in (given.old, given.new)]
    least: tuple[dict[str, float], dict[str, float]] = ({}, {})
    for _ in range(given.repeats):
        for tree, best in zip(trees, least, strict=True):
            for name, seconds in measured(tree, given.runs).items():
                best[name] = min(seconds, best.get(name, seconds))
    print("| measured | old, CPU s | new, CPU s | new/old |\n|---|---:|---:|---:|")
    for name, old in least[0].items():
        new = least[1][name]
        print(f"| {name} | {old:.1f} | {new:.1f} | {new / old:.2f} |")


if __name__ == "__main__":
    main()
