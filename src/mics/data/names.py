"""A name that a table gives and that becomes part of a file's name."""

_REFUSED = frozenset('/\\:*?"<>|')


def is_file_name(name: str, longest: int = 200) -> bool:
    """Whether ``name`` can be part of a file's name, on any system, and so names no other folder.

    ``longest``: so many bytes leave room for what is put before and behind it.
    """
    return (
        0 < len(name.encode(errors="replace")) <= longest
        and min(name) >= " "
        and not name.startswith(".")  # hidden, or the folder above
        and not _REFUSED & set(name)
    )
