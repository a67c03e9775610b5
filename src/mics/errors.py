"""The one kind of error that a user can mend, and the system's request to end."""


class InputError(ValueError):
    """Bad input or an unusable setting; the message is one sentence that says what, where, and what to do.

    The commands print it without a traceback and exit with code 2.
    """


class Terminated(KeyboardInterrupt):
    """The system asks the process to end (SIGTERM): what cleans up or saves after Ctrl-C does so after this too."""
