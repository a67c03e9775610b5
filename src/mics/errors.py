"""The one kind of error that a user can mend, and the system's request to end."""


class InputError(ValueError):
    """Bad input or an unusable setting; the message is one sentence that says what, where, and what to do.

    Also for arguments of a wrong type, for which Python has TypeError: callers need one ``except``. The commands print it
    without a traceback and exit with code 2.
    """


class Terminated(KeyboardInterrupt):
    """The system asks the process to end (SIGTERM): what cleans up or saves after Ctrl-C does so after this too."""


def require_type(value: object, kinds: type | tuple[type, ...], expected: str) -> None:
    """Raise InputError unless ``value`` is of one of the ``kinds``; ``expected`` says what it should be: "A seed is an int"."""
    if not isinstance(value, kinds):
        raise InputError(f"{expected}, not {shown(value)}.")


def shown(value: object) -> str:
    """A value as a sentence can show it: short ones as they are, of others the type."""
    text = repr(value)
    return text if len(text) <= 40 and "\n" not in text else f"a {type(value).__name__}"
