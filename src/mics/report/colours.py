"""One colour an organ, the same in the picture and on the page."""

from mics.data.preview import COLOURS


def label_colour(label: int) -> str:
    """The colour (``#rrggbb``) of a label, for our organs that of :mod:`mics.data.preview`; beyond them they come again."""
    red, green, blue = COLOURS[1 + (label - 1) % (len(COLOURS) - 1)].astype(int)
    return f"#{red:02x}{green:02x}{blue:02x}"
