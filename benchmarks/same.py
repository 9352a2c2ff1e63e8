"""Check that a change of the code changed no result: `python -m benchmarks.same`, or `make same`.

Runs the smoke scale and compares its results with the SHA-256s in `same.json` beside this file. Of
`runs.parquet` every column counts but `code`, the fingerprint of the code, which a change of the
code may change. Sums are rounded differently on another kind of processor, so the digests hold on
the machine that wrote them: elsewhere check out the commit to compare with, run `python -m
benchmarks.same --write` there, then come back.
"""

import argparse
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd

RESULTS = Path("results/smoke")
DIGESTS = Path(__file__).with_name("same.json")
# `meta_batches` came after the digests. No run of the smoke scale draws any.
WITHOUT = {"runs.parquet": ["code", "meta_batches"], "trajectories.parquet": []}


def digests(results: Path) -> dict[str, str]:
    """Return the SHA-256 of each result by its path below the results folder.

    Args:
        results: the results folder of a scale.

    Returns:
        Digests of the gathered runs and trajectories as CSV text without the columns that may
        change, and of the bytes of every table and of `claims.json`.
    """
    found = {}
    for name, columns in WITHOUT.items():
        text = pd.read_parquet(results / name).drop(columns=columns).to_csv(index=False)
        found[name] = hashlib.sha256(text.encode()).hexdigest()
    for path in [*sorted((results / "tables").iterdir()), results / "claims.json"]:
        found[path.relative_to(results).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def main() -> int:
    """Run the smoke scale and compare; exit status 1 when a result differs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--write", action="store_true", help="write the digests instead of comparing"
    )
    write = parser.parse_args().write
    snakemake = [
        str(Path(sys.executable).with_name("snakemake")),
        "--cores",
        "all",
        "--quiet",
        "all",
    ]
    subprocess.run([*snakemake, "--config", "scale=smoke"], check=True)
    found = digests(RESULTS)
    if write:
        DIGESTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        return 0
    expected = json.loads(DIGESTS.read_text(encoding="utf-8"))
    differing = [
        name
        for name in sorted(found.keys() | expected.keys())
        if found.get(name) != expected.get(name)
    ]
    for name in differing:
        print(
            f"same: {name}: expected {expected.get(name, 'no such file')}, got"
            f" {found.get(name, 'no such file')}"
        )
    print(f"same: {len(expected) - len(differing)} of {len(expected)} results are the same")
    return int(bool(differing))


if __name__ == "__main__":
    sys.exit(main())
