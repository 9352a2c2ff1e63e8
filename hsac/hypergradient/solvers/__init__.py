"""Solvers of H x = v, one file each."""
