"""Where each dataset comes from: one file per source, each a pure function to named arrays."""
