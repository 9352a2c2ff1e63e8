"""Bi-level problems whose hypergradient is known, one file each."""
