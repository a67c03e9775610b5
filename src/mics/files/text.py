"""The text of a file that a user wrote or a spreadsheet saved."""

import codecs
from pathlib import Path

_NO_TEXT = "it is not UTF-8 text: save it as that"


def read_text(path: Path) -> str:
    """What a text file says.

    Args:
        path: The file: UTF-8, with or without a byte-order mark, or UTF-16 with one, as some editors and spreadsheets save it.

    Returns:
        Its text, the byte-order mark left out, ends of lines as they are.

    Raises:
        OSError: Where it cannot be read.
        UnicodeError: Where it is no such text; says so in words that follow the file's name and a colon.
    """
    content = path.read_bytes()
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnicodeError(_NO_TEXT) from error
    if "\0" in text:  # as in other encodings that tell nothing of themselves
        raise UnicodeError(_NO_TEXT)
    return text


def number(text: str) -> float:
    """The number that a word in a file stands for.

    Args:
        text: The word, with or without blanks around it.

    Returns:
        Its value, which may be infinite or none.

    Raises:
        ValueError: Where it is no number, as 1_5, which Python would take for 15.
    """
    if "_" in text:
        raise ValueError(text)
    return float(text)
