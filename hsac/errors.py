"""The one exception that means "the user can mend this"."""


class InputError(Exception):
    """Bad input: the message is one line naming the key or file, what was found and what is
    allowed.

    The command line prints it as it stands and exits with status 2.
    """
