"""The citation graphs Cora, CiteSeer and PubMed with their public split.

Z. Yang, W. W. Cohen, R. Salakhutdinov, Revisiting Semi-Supervised Learning with Graph Embeddings,
ICML 2016, from P. Sen et al., Collective Classification in Network Data, AI Magazine 29, 2008, and
G. Namata et al., Query-driven Active Surveying for Collective Classification, MLG 2012. Read by
``torch_geometric.datasets.Planetoid``.

The raw files are pickles, which can run code when opened: their hashes stand in the catalogue and
are checked before this source sees them.
"""

import contextlib
import io
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hsac import imports
from hsac.data.sources._graphs import undirected


def build(
    folder: Path, data: str, name: str, classes: Sequence[str]
) -> tuple[dict[str, np.ndarray], ...]:
    """Read one of the graphs.

    CiteSeer's 15 nodes without a document have zero features and class 0.

    Args:
        folder: Holds the folder below.
        data: Folder of the raw files ``ind.<name>.*``.
        name: Cora, CiteSeer or PubMed.
        classes: Names of the classes, which the files do not hold.

    Returns:
        The stored arrays and what torch_geometric made of the files. ``x`` float32 (N, F) is the
        bag of words as published, not normalised. Of ``split`` 20 nodes a class train, 500
        validate, 1000 test, the rest are -1.
    """
    with imports.quiet():
        from torch_geometric.datasets import Planetoid

    with tempfile.TemporaryDirectory() as temporary:
        raw = Path(temporary) / name / "raw"
        raw.mkdir(parents=True)
        # Planetoid writes beside the raw files, which may be read-only.
        for path in (Path(folder) / data).glob(f"ind.{name.lower()}.*"):
            shutil.copyfile(path, raw / path.name)
        # It says on stderr that it is processing.
        with contextlib.redirect_stderr(io.StringIO()):
            graph = Planetoid(temporary, name)[0]
    x, y, edge = graph.x.numpy(), graph.y.numpy(), undirected(graph.edge_index.numpy())
    split = np.full(len(y), -1, np.int8)
    for part, mask in enumerate((graph.train_mask, graph.val_mask, graph.test_mask)):
        split[mask.numpy()] = part
    decoded = {
        "x": x,
        "y": y,
        "edges_undirected": edge.T.copy(),
        "test_index": np.flatnonzero(split == 2),
    }
    arrays = {"x": x, "edge": edge, "y": y, "split": split, "classes": np.array(list(classes))}
    return arrays, decoded
