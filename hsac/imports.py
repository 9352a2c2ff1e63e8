"""Import packages whose own warnings are no news to a user of ours."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Ignore warnings while packages are imported.

    Some use what torch will drop one day. With PYTHONWARNINGS=error that would end the import.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
