"""Who is trained on, validated on and tested on in Learn2Reg's AbdomenCTCT, as published; case numbers as in the files."""

from dataclasses import dataclass
from itertools import combinations

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Published:
    """Case numbers of each split, and the (fixed, moving) pairs that the challenge scores."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    validation_pairs: Pairs
    test_pairs: Pairs


def _published(annotated: list[int], validation: list[int], test: range) -> Published:
    train = [number for number in annotated if number not in validation]
    # In the test, the first of a pair is every other person, the second each of those between that come after.
    tested = [(a, b) for a in test[::2] for b in test[1::2] if b > a]
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

LEARN2REG_TODAY = _published(list(range(1, 31)), list(range(1, 31, 3)), range(31, 51))
"""The same people, numbered without gaps: ``AbdomenCTCT_0001_0000`` to ``AbdomenCTCT_0050_0000``."""
