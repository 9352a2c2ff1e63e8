"""One file a comparison: its docstring's first line is the title, `cases(device, tiny)` yields what
is measured.
"""
