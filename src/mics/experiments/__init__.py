"""The paper's tables and figures, and other tools run on the same pairs."""
