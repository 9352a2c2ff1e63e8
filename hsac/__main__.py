"""`python -m hsac` is the command `hsac`."""

from hsac.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
