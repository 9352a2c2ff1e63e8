"""One file a comparison.

Its docstring's first line is the title. Its `cases(device, tiny)` yields what is measured on a
device, `tiny` at sizes at which the tests only compare results. What a case builds is a pair of
functions, ours and the peer's.
"""
