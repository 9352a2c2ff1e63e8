"""Where each dataset comes from: one file per source, each a pure function from nothing to named
arrays.
"""
