"""The one kind of error that a user can mend."""


class InputError(ValueError):
    """Bad input or an unusable setting; the message is one sentence that says what, where, and what to do.

    The commands print it without a traceback and exit with code 2.
    """
