"""The one exception for what a user can fix."""


class InputError(Exception):
    """Bad input that the user can fix.

    The message is one line that names the key or file, what was found and what is allowed. The
    command line prints it as it stands and exits with status 2.
    """
