"""Pictures of datasets: a contact sheet of images, a drawing and the shape of a graph, who labels
what as what.

The drawings share colours and layout with the report's figures (`hsac.report.figures.style`);
nothing here needs torch.
"""

from pathlib import Path

from hsac.data import store
from hsac.data.catalogue import entry
from hsac.data.overview import verification
from hsac.data.pictures import confusion, graph, sheet
from hsac.errors import InputError
from hsac.files import write_json
from hsac.report.figures.style import save

KINDS = {"images": sheet.draw, "graph": graph.draw, "labels": confusion.draw}


def write_picture(name: str, root: Path, path: Path) -> None:
    """Draw a fetched dataset: ``path`` (a .png), the same as .pdf, and as .json caption, numbers
    and content hash.

    Raises InputError for another ending, for an unknown dataset and for one that was not fetched.
    """
    if path.suffix != ".png":
        raise InputError(f"--picture: found {str(path)!r}; allowed is a file that ends in .png")
    arrays, sha256 = store.load_arrays(name, root)
    figure, caption, numbers = KINDS[entry(name).kind](name, arrays)
    save(figure, path.with_suffix(""))
    content = {"sha256": sha256, "verified": verification(entry(name), root)}
    write_json(
        path.with_suffix(".json"),
        {"dataset": name, **content, "caption": caption, "numbers": numbers},
    )
