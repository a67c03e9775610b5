"""For the site: each notebook's page begins with how to open it as a notebook."""

from typing import Any

HOW = (
    "*This page is a notebook: `jupytext --to ipynb docs/{path}` makes one that Jupyter opens. Its code runs as a test, "
    "on phantoms, without any data.*\n\n"
)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page with that line under its title, if it is a notebook."""
    if "jupytext" not in page.meta:
        return markdown
    title, _, rest = markdown.lstrip().partition("\n")
    return f"{title}\n\n{HOW.format(path=page.file.src_uri)}{rest}"
