"""One colour an organ, the same in the picture and on the page."""

from collections.abc import Sequence

from mics.data.preview import COLOURS


def label_colours(labels: Sequence[int]) -> dict[int, str]:
    """A colour (``#rrggbb``) for each label, in the order given; of more than there are, they come again."""
    distinct = COLOURS[1:].astype(int).tolist()
    return {
        label: "#{:02x}{:02x}{:02x}".format(*distinct[number % len(distinct)]) for number, label in enumerate(labels)
    }
