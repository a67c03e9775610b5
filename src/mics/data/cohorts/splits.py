"""Subjects for training, validation and test in Learn2Reg's AbdomenCTCT, as published; case numbers as in the files."""

from collections.abc import Collection, Set
from dataclasses import dataclass
from itertools import combinations, permutations

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Published:
    """Case numbers of each split, and the (fixed, moving) pairs that the challenge scores."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    validation_pairs: Pairs
    test_pairs: Pairs

    @property
    def resplit_pairs(self) -> Pairs:
        """The pairs of the public re-split, which tests on the last seven annotated subjects, every pair in both directions."""
        return tuple(permutations(sorted((*self.train, *self.validation))[23:], 2))


def _published(annotated: list[int], validation: list[int], test: range, untested: Set[int] = frozenset()) -> Published:
    train = [number for number in annotated if number not in validation]
    # In the test, the first of a pair is every other subject, the second each of those between that come after.
    tested = [(a, b) for a in test[::2] for b in test[1::2] if b > a and not {a, b} & untested]
    return Published(
        _texts(train),
        _texts(validation),
        _texts(test),
        tuple(combinations(_texts(validation), 2)),
        tuple((f"{a:04d}", f"{b:04d}") for a, b in tested),
    )


def _texts(numbers: list[int] | range) -> tuple[str, ...]:
    return tuple(f"{number:04d}" for number in numbers)


LEARN2REG_2020 = _published([*range(1, 11), *range(21, 41)], [1, 4, 7, 10, 23, 26, 29, 32, 35, 38], range(61, 81))
"""Numbers of BTCV: ``img0001`` to ``img0010`` and ``img0021`` to ``img0040``, in the test ``img0061`` to ``img0080``."""

LEARN2REG_TODAY = _published(list(range(1, 31)), list(range(1, 31, 3)), range(31, 51), frozenset({34, 41, 42, 43}))
"""The same subjects, numbered without gaps: ``AbdomenCTCT_0001_0000`` to ``AbdomenCTCT_0050_0000``.

Of the 55 test pairs of 2020 the challenge scores 39 today (its ``AbdomenCTCT_TEST_evaluation_config.json``), those without
four of the subjects.
"""


def release_of(numbers: Collection[str]) -> Published | None:
    """The release whose numbers these annotated subjects have; None where they may be of either, or of none."""
    found = [r for r in (LEARN2REG_2020, LEARN2REG_TODAY) if set(numbers) <= {*r.train, *r.validation}]
    return found[0] if len(found) == 1 else None
