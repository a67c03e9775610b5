"""The elements of a DICOM file as they stand in it, those within sequences too, which SimpleITK does not show."""

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mics.errors import InsufficientMemoryError
from mics.image.available import available_host_bytes

PIXELS = 0x7FE00010

# Types whose length has two bytes (PS3.5, 7.1.2), and the absence of one.
_SHORT = {
    b"\0\0",
    b"AE",
    b"AS",
    b"AT",
    b"CS",
    b"DA",
    b"DS",
    b"DT",
    b"FD",
    b"FL",
    b"IS",
    b"LO",
    b"LT",
    b"PN",
    b"SH",
    b"SL",
}
_SHORT |= {b"SS", b"ST", b"TM", b"UI", b"UL", b"US"}
_ITEM, _ITEM_END, _END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 2**32 - 1
_DEEPEST = 32
# Transfer syntaxes other than explicit and little-endian (PS3.5, annex A).
_IMPLICIT, _BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
_PLAIN, _DEFLATED = b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2.1.99"
_SYNTAX = 0x00020010
# More is no scan, but a file made to fill the memory, of which as much is taken by each of so many copies.
_MAX_INFLATED = 1 << 31
_COPIES = 4
# Where types are not written out, or unknown to their writer, these tell themselves to be sequences by their tag alone: the
# functional groups of frames, those of them that say where a frame lies and what its values are, the table of values, an icon.
_SEQUENCES = {
    0x52009229,
    0x52009230,
    0x00209111,
    0x00209113,
    0x00209116,
    0x00289110,
    0x00289145,
    0x00283000,
    0x00880200,
}


@dataclass(frozen=True)
class Element:
    """An element's bytes, None where they are compressed pixels, the place where they begin, and the items of a sequence."""

    value: bytes | None
    start: int
    items: tuple["Elements", ...] = ()

    @property
    def text(self) -> str:
        """Its value as text, without what fills it up."""
        return (self.value or b"").decode("latin-1").strip(" \0")


Elements = dict[int, Element]
"""By group and number, as 0x00200032."""


@dataclass(frozen=True)
class Dataset:
    """The elements of a file, and its bytes with what was deflated unpacked."""

    content: bytes
    elements: Elements
    order: Literal["little", "big"]

    def number(self, element: Element) -> int:
        """A binary whole number, of which no type has more than eight bytes."""
        return int.from_bytes((element.value or b"")[:8], self.order)


@dataclass(frozen=True)
class _Form:
    """In which order bytes stand, and whether types are written out."""

    order: Literal["little", "big"]
    explicit: bool


_LITTLE = _Form("little", explicit=True)


def read_dataset(file: Path, source: Path) -> Dataset | None:
    """Elements as of :func:`dataset_of`, of a file that an error calls ``source``.

    Raises InsufficientMemoryError where it does not fit into memory, or unpacks to more than one file may take of it.
    """
    left = available_host_bytes()
    most = _MAX_INFLATED if left is None else min(_MAX_INFLATED, int(left) // _COPIES)
    try:
        return dataset_of(file.read_bytes(), most)
    except _TooLarge as error:
        raise InsufficientMemoryError(
            f"{source} unpacks to more than {most / 1e9:.2g} GB, more than one DICOM file may take here: export it without "
            "compression, or in parts."
        ) from error
    except MemoryError as error:
        raise InsufficientMemoryError(
            f"{source} does not fit into memory: give a part of it, or use a larger machine."
        ) from error


class _TooLarge(Exception):
    """Deflated elements unpack to more than may be."""


def dataset_of(content: bytes, most: int = _MAX_INFLATED) -> Dataset | None:
    """The elements of a file up to its pixels, of any transfer syntax; None where their order cannot be followed.

    Files without the group of elements that says the transfer syntax are taken for little-endian. ``most``: bytes to which
    deflated ones may unpack.
    """
    try:
        content, start, form = _plain(content, most)
        elements, _ = _elements(content, start, len(content), form, 0)
    except (ValueError, zlib.error):
        return None
    return Dataset(content, elements, form.order)


def within(elements: Elements, *tags: int) -> Element | None:
    """The element that the tags lead to, each but the last a sequence whose first item is meant; None where there is none."""
    *sequences, last = tags
    for tag in sequences:
        sequence = elements.get(tag)
        if sequence is None or not sequence.items:
            return None
        elements = sequence.items[0]
    return elements.get(last)


def compressed_items(dataset: Dataset, pixels: Element) -> list[bytes] | None:
    """The items of compressed ``pixels``, the table of offsets first; None where they do not end as they have to (PS3.5, A.4)."""
    content, at = dataset.content, pixels.start
    found: list[bytes] = []
    while at + 8 <= len(content):
        tag, _, length, at = _head(content, at, _LITTLE)
        if tag == _END:
            return found
        if tag != _ITEM or at + length > len(content):
            return None
        found.append(content[at : at + length])
        at += length
    return found if at == len(content) else None


def _plain(content: bytes, most: int) -> tuple[bytes, int, _Form]:
    """The bytes of a file, unpacked where they are deflated, where its elements begin after those of group 2, and their form."""
    start, syntax, place = (132 if content[128:132] == b"DICM" else 0), b"", 0
    while content[start : start + 2] == b"\2\0":
        tag, _, length, start = _head(content, start, _LITTLE)
        if tag == _SYNTAX:
            syntax, place = content[start : start + length], start
        start += length
    name = syntax.rstrip(b"\0 ").decode("latin-1")
    if name == _DEFLATED.decode():
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        data = inflater.decompress(content[start:], most)
        if inflater.unconsumed_tail:
            raise _TooLarge
        head = content[:place] + _PLAIN.ljust(len(syntax), b"\0") + content[place + len(syntax) : start]
        return head + data, start, _LITTLE
    if not name:
        return content, start, _Form("little", explicit=content[start + 4 : start + 6].isalpha())
    return content, start, _Form("big" if name == _BIG else "little", explicit=name != _IMPLICIT)


def _head(content: bytes, at: int, form: _Form) -> tuple[int, bytes, int, int]:
    """Tag, type, length of the value, and where that begins."""

    def number(first: int, count: int) -> int:
        return int.from_bytes(content[first : first + count], form.order)

    tag = number(at, 2) << 16 | number(at + 2, 2)
    if not form.explicit or tag in (_ITEM, _ITEM_END, _END):
        return tag, b"", number(at + 4, 4), at + 8
    kind = content[at + 4 : at + 6]
    # A type that is not known has a long length, none at all a short one, as GDCM reads them.
    return (tag, kind, number(at + 6, 2), at + 8) if kind in _SHORT else (tag, kind, number(at + 8, 4), at + 12)


def _elements(content: bytes, at: int, end: int, form: _Form, depth: int) -> tuple[Elements, int]:
    """The elements from ``at`` to ``end`` or to where an item says that it ends, and the place after them."""
    found: Elements = {}
    while at + 8 <= end:
        tag, kind, length, at = _head(content, at, form)
        undefined = length == _UNDEFINED
        if tag == _ITEM_END:
            break
        if kind == b"SQ" or (kind in (b"", b"UN") and tag in _SEQUENCES) or (undefined and tag != PIXELS):
            inner = _Form("little", explicit=False) if kind == b"UN" else form
            last = end if undefined else min(end, at + length)
            items, after = _items(content, at, last, inner, depth + 1)
            found[tag] = Element(b"", at, items)
            at = after if undefined else last
        elif undefined:
            found[tag] = Element(None, at)
            at = _after_fragments(content, at, end, form)
        elif depth > 0 and at + length > end:
            raise ValueError("an element ends after the item that holds it")
        else:
            found[tag] = Element(content[at : at + length], at)
            at += length
        if tag == PIXELS and depth == 0:
            break
    return found, at


def _items(content: bytes, at: int, end: int, form: _Form, depth: int) -> tuple[tuple[Elements, ...], int]:
    """The items of a sequence, and the place after it."""
    if depth > _DEEPEST:
        raise ValueError("sequences within sequences without end")
    found = []
    while at + 8 <= end:
        tag, _, length, at = _head(content, at, form)
        if tag == _END:
            break
        if tag != _ITEM:
            raise ValueError("a sequence holds something else than items")
        last = end if length == _UNDEFINED else min(end, at + length)
        elements, after = _elements(content, at, last, form, depth)
        found.append(elements)
        at = after if length == _UNDEFINED else last
    return tuple(found), at


def _after_fragments(content: bytes, at: int, end: int, form: _Form) -> int:
    """The place after compressed pixels, which stand in items (PS3.5, A.4)."""
    while at + 8 <= end:
        tag, _, length, at = _head(content, at, form)
        if tag != _ITEM:
            break
        at += length
    return at
