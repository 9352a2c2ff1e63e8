"""Measure every comparison and write results.csv, results.md and figures/.

`python -m benchmarks NAME ...` measures these comparisons only; the earlier rows of the others
stay. It takes one thread, as the suite's own processes do, unless OMP_NUM_THREADS says otherwise. A
GPU is measured too when there is one.
"""

import argparse
import os
import sys
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).parent
NAMES = sorted(path.stem for path in (HERE / "comparisons").glob("[!_]*.py"))


def main() -> int:
    """Run the command line.

    Returns:
        Exit status: 1 where results disagree.
    """
    about = __doc__.partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=about)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    names = parser.parse_args().names or NAMES
    if unknown := set(names) - set(NAMES):
        parser.error(f"NAME: found {', '.join(sorted(unknown))}, allowed are {', '.join(NAMES)}")
    import torch

    from benchmarks.figures import draw
    from benchmarks.results import line, measured, read, write
    from hsac.memory import keep_freed_memory

    # as the suite's own processes do
    keep_freed_memory()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    modules = {name: import_module(f"benchmarks.comparisons.{name}") for name in NAMES}
    titles = {
        name: module.__doc__.partition("\n")[0].rstrip(".") for name, module in modules.items()
    }
    rows = read(HERE / "results.csv")
    for name in names:
        rows = [row for row in rows if row["comparison"] != name]
        for device in ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]:
            for case in modules[name].cases(torch.device(device), tiny=False):
                row = measured(name, case, torch.device(device))
                rows.append(row)
                print(f"{name}: {line(row)}", flush=True)
        # written after each comparison, so that one that fails takes no other with it
        table = write(rows, titles, HERE)
        draw(table[table["comparison"] == name], titles[name], HERE / "figures" / f"{name}.png")
    return int(any(row["met"] == "results disagree" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
