"""Hyperbolic sharpness-aware curvature learning.

A benchmark and reproducibility suite, and the method as a library: `Curvature` is a learnable
curvature for a model of your own, `CurvatureLearner` moves it, `weights` are the other parameters.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hsac.ball import Curvature
    from hsac.learner import CurvatureLearner, weights

__version__ = "0.1.0"
__all__ = ["Curvature", "CurvatureLearner", "weights"]


def __getattr__(name: str) -> Any:
    # Imported on demand: the workflow imports hsac for every job, and torch takes seconds.
    if name == "Curvature":
        from hsac.ball import Curvature

        return Curvature
    if name in __all__:
        from hsac import learner

        return getattr(learner, name)
    raise AttributeError(f"module 'hsac' has no attribute {name!r}")
