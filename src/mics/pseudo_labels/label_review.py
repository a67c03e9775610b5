"""What a reviewer has said about pseudo-labels: a CSV with a row a review."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mics.errors import InputError, MissingFileError
from mics.files.text import read_text
from mics.organs import ORGAN_NAMES

REVIEWS = "verdicts.csv"
COLUMNS = ("case", "organ", "verdict", "comment")
WHOLE_CASE = 0

_IDS = {name: organ for organ, name in ORGAN_NAMES.items()}


class LabelReview(NamedTuple):
    """Whether a reviewer keeps the label of an organ or of a whole case, and why."""

    keep: bool
    comment: str


def read_reviews(path: Path, cases: set[str]) -> dict[tuple[str, int], LabelReview]:
    """``{(case, organ): review}``, organ 0 for the whole case; nothing if there is no file.

    Columns case, organ (its name, or empty for the whole case), verdict (keep or reject), comment. Raises
    :class:`InputError` naming the line for anything else, for a case that is not among ``cases``, and for two verdicts on one.
    """
    if not path.is_file():
        return {}
    try:
        reviews: dict[tuple[str, int], LabelReview] = {}
        rows = csv.DictReader(io.StringIO(read_text(path), newline=""))
        for subject, review in _reviews(path, rows, cases):
            if reviews.setdefault(subject, review).keep != review.keep:
                case, organ = subject
                what = f"the {ORGAN_NAMES[organ]} of {case}" if organ else case
                raise InputError(
                    f"{path}, line {rows.line_num}: {what} is to be kept and rejected; leave one line out."
                )
        return reviews
    except OSError as error:
        raise MissingFileError(f"{path} cannot be read ({error.strerror}); correct it, or take it away.") from error
    except (UnicodeError, csv.Error) as error:
        raise InputError(f"{path} is not a CSV file ({error}).") from error


def _reviews(path: Path, rows: "csv.DictReader[str]", cases: set[str]) -> Iterator[tuple[tuple[str, int], LabelReview]]:
    if not set(COLUMNS[:3]) <= set(rows.fieldnames or ()):
        raise InputError(f"{path} must have the columns {', '.join(COLUMNS)} in its first line.")
    for row in rows:
        case, organ, verdict = ((row[column] or "").strip() for column in COLUMNS[:3])
        organ, verdict = organ.lower(), verdict.lower()
        if case not in cases or organ not in ("", *_IDS) or verdict not in ("keep", "reject"):
            raise InputError(
                f"{path}, line {rows.line_num}: {case!r}, {organ!r}, {verdict!r} is not a case of this set, an organ "
                "(or nothing, for the whole case) and keep or reject; correct that line."
            )
        yield (case, _IDS.get(organ, WHOLE_CASE)), LabelReview(verdict == "keep", (row.get("comment") or "").strip())
