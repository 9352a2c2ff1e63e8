"""The former name of `hsac.parts`, kept for plugins that import `require` from here."""

from hsac.parts import require

__all__ = ["require"]
