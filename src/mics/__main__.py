"""``python -m mics``: the command where its script is not on the path."""

from mics.cli.main import main

main()
