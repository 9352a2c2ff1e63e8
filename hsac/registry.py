"""The former name of `hsac.parts`, kept for plug-ins that import `require` from here."""

from hsac.parts import require

__all__ = ["require"]
