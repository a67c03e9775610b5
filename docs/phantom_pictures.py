"""Makes the pictures in images/ of what `mics demo` wrote: mics demo -o demo && python docs/phantom_pictures.py demo."""

import sys
from pathlib import Path

from PIL import Image

IMAGES = Path(__file__).with_name("images")
WIDTH = 850

TITLES, AXIAL, CORONAL = (92, 119), (416, 712), (1012, 1319)
"""Lines of overview.png, at its full width of 2128, that the small picture has."""


def main(demo: Path) -> None:
    """Write the whole picture, and a strip of two planes for the README and the first page."""
    with Image.open(demo / "result" / "overview.png") as file:
        whole = file.convert("RGB")
    bands = [whole.crop((0, top, whole.width, bottom)) for top, bottom in (TITLES, AXIAL, CORONAL)]
    strip = Image.new("RGB", (whole.width, sum(band.height for band in bands)), "white")
    top = 0
    for band in bands:
        strip.paste(band, (0, top))
        top += band.height
    for name, picture in (("phantom_overview", whole), ("phantom_pair", strip)):
        picture.thumbnail((WIDTH, WIDTH), Image.Resampling.LANCZOS)
        picture.save(IMAGES / f"{name}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
