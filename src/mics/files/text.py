"""The text of a file that a user wrote or a spreadsheet saved."""

import codecs
from pathlib import Path


def read_text(path: Path) -> str:
    """What a text file says.

    Args:
        path: The file: UTF-8, with or without a byte-order mark, or UTF-16 with one, as spreadsheets save "Unicode text".

    Returns:
        Its text, the byte-order mark left out, ends of lines as they are.

    Raises:
        OSError: Where it cannot be read.
        UnicodeError: Where it is no such text; says so in words that follow the file's name and a colon.
    """
    content = path.read_bytes()
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnicodeError("it is not UTF-8 text: save it as that") from error
