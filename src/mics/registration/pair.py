"""Two things of the same kind, told apart by their roles."""

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, eq=False)
class Pair(Generic[T]):
    """One thing of the fixed scan and one of the moving scan. Equal to itself alone, as it may hold arrays and tensors."""

    fixed: T
    moving: T
