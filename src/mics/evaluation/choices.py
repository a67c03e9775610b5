"""What an evaluation may be asked for by name."""

from typing import Literal

Names = Literal["current", "2020"]
"""File names of a Learn2Reg submission: those of the challenge's current script, or of that of 2020."""
