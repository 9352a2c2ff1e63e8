"""Import learn2learn so that it works and prints nothing."""

import contextlib
import importlib
import importlib.util
import io
from functools import cache
from pathlib import Path
from typing import Any

from hsac import imports

SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


@cache
def learn2learn() -> Any:
    """Import the library.

    Returns:
        The module.
    """
    _declare_operators()
    # it imports gym, which prints a banner
    with contextlib.redirect_stderr(io.StringIO()), imports.quiet():
        return importlib.import_module("learn2learn")


@cache
def _declare_operators() -> Any:
    """Declare the operators that torchvision needs when its compiled ones do not load.

    Returns:
        The library object that keeps the declarations alive; None where the operators load.
    """
    import torch

    spec = importlib.util.find_spec("torchvision")
    compiled = Path(spec.origin).with_name("_C.so") if spec and spec.origin else None
    if compiled is None:
        return None
    try:
        torch.ops.load_library(str(compiled))
        return None
    except OSError:
        # Built for CUDA, beside a CPU torch. It then registers shapes for `nms` and `qnms`, and
        # fails at import unless their schemas exist. Nothing here calls them.
        pass
    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(operator + SCHEMA)
    return library
