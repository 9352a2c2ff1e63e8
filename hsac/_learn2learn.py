"""learn2learn, imported so that it works and says nothing."""

import contextlib
import importlib
import importlib.util
import io
import warnings
from functools import cache
from pathlib import Path
from typing import Any

SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


@cache
def learn2learn() -> Any:
    """The library. It imports gym, which prints a banner, and torchvision, which may lack its
    compiled operators.
    """
    _declare_operators()
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("learn2learn")


@cache
def _declare_operators() -> Any:
    """A torchvision whose compiled operators do not load (built for CUDA, beside a CPU torch)
    registers shapes for ``nms`` and ``qnms`` and fails at import unless their schemas exist;
    nothing here calls them. Returns the library object that keeps the declarations alive, or None
    where the operators load.
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
        pass
    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(operator + SCHEMA)
    return library
