"""The error that is a user's to mend."""


class InputError(ValueError):
    """Bad input: one line that says what was expected, what came and what to do.

    The command prints it without a traceback and exits with status 2.
    """
