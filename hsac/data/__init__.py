"""Data: catalogue → raw files with a checked hash → variants (indices, labels or episodes).

Importing this package loads neither torch nor datasets. The functions that need them import them.
"""

from hsac.data.catalogue import names
from hsac.data.store import Images, fetch, load_graph, load_images
from hsac.data.variants import build_variant, load_variant, write_variant

__all__ = [
    "Images",
    "build_variant",
    "fetch",
    "load_graph",
    "load_images",
    "load_variant",
    "names",
    "write_variant",
]
