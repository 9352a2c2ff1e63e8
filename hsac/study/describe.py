"""Write what the models say of themselves: `python -m hsac.study.describe`.

The key tables of config/README.md stand between the lines `<!-- keys: NAME -->` and `<!-- end -->`.
Editors check a scale's file against config/schema.json, which its first line names.
"""

import json
import re
from pathlib import Path

from pydantic import BaseModel

from hsac.files import write_bytes
from hsac.study.fields import bare
from hsac.study.frozen import Features, Frozen, Problem
from hsac.study.load import FOLDER
from hsac.study.models import Curvature, Experiment, Keys, Measure, Search, Theory

TABLES: dict[str, type[BaseModel]] = {
    "top": Keys,
    "search": Search,
    "curvature": Curvature,
    "measure": Measure,
    "theory": Theory,
    "experiments": Experiment,
    "frozen": Frozen,
    "features": Features,
    "problems": Problem,
}
PREFIXES = {"search": "search.", "features": "features.<name>.", "problems": "problems.<name>."}
# Keys that have a table or a chapter of their own.
LEFT_OUT = {(Keys, name) for name in Keys.model_fields if name in (*TABLES, "spaces", "rules")}
# Sections whose keys stand in the table of the section around them.
OPENED: set[tuple[type[BaseModel], str]] = {
    (Theory, name) for name in ("certificate", "informed", "hypergradient")
}
OPENED |= {(Experiment, "training"), (Frozen, "curvatures")}
MARKED = re.compile(r"(<!-- keys: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def rows(model: type[BaseModel], prefix: str = "") -> list[tuple[str, str]]:
    """Return the keys of a section and what they mean.

    Args:
        model: the section's model.
        prefix: what stands before its keys.
    """
    found: list[tuple[str, str]] = []
    for name, field in model.model_fields.items():
        if (model, name) in OPENED:
            found += rows(bare(field.annotation), f"{prefix}{name}.")
        elif (model, name) not in LEFT_OUT:
            found.append((f"{prefix}{name}", field.description or ""))
    return found


def table(name: str) -> str:
    """Return the key table of a section as Markdown.

    Args:
        name: one of `TABLES`.
    """
    lines = ["| key | what it is |", "|---|---|"]
    for key, words in rows(TABLES[name], PREFIXES.get(name, "")):
        lines.append(f"| `{key}` | {words.replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


def described(text: str) -> str:
    """Return a document with its key tables made anew.

    Args:
        text: the document, with the tables' marks in it.
    """
    return MARKED.sub(lambda found: f"{found[1]}{table(found[2])}{found[3]}", text)


def schema() -> str:
    """Return the JSON schema of a scale's file, for editors."""
    made = Keys.model_json_schema()
    made.pop("required", None)  # a scale's file gives what differs from the default's
    return json.dumps(made, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def main(folder: Path = FOLDER) -> None:
    """Write the tables and the schema.

    Args:
        folder: the folder of the configuration.
    """
    readme = folder / "README.md"
    write_bytes(readme, described(readme.read_text(encoding="utf-8")).encode())
    write_bytes(folder / "schema.json", schema().encode())


if __name__ == "__main__":
    main()
