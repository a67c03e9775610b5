"""The description on a package index: README.md without the links that lead nowhere there. All else is in pyproject.toml."""

import re
from pathlib import Path

from setuptools import setup

PICTURE = re.compile(r"^!\[[^]]*\]\((?!https?:)[^)]*\)\n+", re.M)
LINK = re.compile(r"\[([^]]*)\]\((?!https?:)[^)]*\)")


def for_an_index(readme: str) -> str:
    """Pictures and links to files of the repository taken out; the text of a link, a file's name, stays."""
    return LINK.sub(
        lambda link: f"`{link[1]}`" if "/" in link[1] or "." in link[1] else link[1], PICTURE.sub("", readme)
    )


README = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
setup(long_description=for_an_index(README), long_description_content_type="text/markdown")
