"""Pictures of datasets: a sheet of images, a graph and its shape, labels that people gave.

The drawings share colours and layout with the report's figures (`hsac.report.figures.style`).
Nothing here needs torch.
"""

from pathlib import Path

from hsac.data import store
from hsac.data.catalogue import entry
from hsac.data.overview import verification
from hsac.errors import InputError
from hsac.files import write_json
from hsac.report.figures.style import save
from hsac.report.pictures import confusion, graph, sheet

KINDS = {"images": sheet.draw, "graph": graph.draw, "labels": confusion.draw}


def write_picture(name: str, root: Path, path: Path) -> None:
    """Draw a fetched dataset.

    Args:
        name: Name of the dataset.
        root: The data folder.
        path: The picture, a .png. Beside it go the same as .pdf, and as .json caption, numbers and
            content hash.

    Raises:
        InputError: For another ending, for an unknown dataset and for one that was not fetched.
    """
    if path.suffix != ".png":
        raise InputError(f"--picture: found {str(path)!r}; allowed is a file that ends in .png")
    arrays, sha256 = store.load_arrays(name, root)
    picture = KINDS[entry(name).kind](name, arrays)
    save(picture.figure, path.with_suffix(""))
    content = {
        "dataset": name,
        "sha256": sha256,
        "verified": verification(entry(name), root),
        "caption": picture.caption,
        "numbers": picture.numbers,
    }
    write_json(path.with_suffix(".json"), content)
