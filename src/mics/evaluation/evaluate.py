"""Score the deformations of many pairs: ``mics evaluate`` and ``mics.evaluate``."""

import itertools
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import torch

from mics.choices import SubmissionNames
from mics.data.label_names import LabelNames, disagreement, read_label_names
from mics.data.pairs import PairSource, ScanSource, read_pairs
from mics.deformation.provenance import voxels_sha256
from mics.errors import InputError, some_of
from mics.evaluation.convention_check import convention_warning, overlaps
from mics.evaluation.export import Export, exported
from mics.evaluation.landmarks import outside_messages
from mics.evaluation.learn2reg import warp_labels
from mics.evaluation.numbering import numbering_warning
from mics.evaluation.pair_score import PairScore, score_pair
from mics.evaluation.resplit import PAIRS, absent_as_zero, halved, halved_displacement
from mics.evaluation.result import Evaluation
from mics.evaluation.structure_labels import with_structures
from mics.evaluation.submission import Submission
from mics.evaluation.summary import compare, summarise
from mics.image.checks import one_value
from mics.image.io import Image
from mics.image.points import Points

# Each pair worked on takes about a gigabyte at the challenge's size.
_AT_A_TIME = 4

LabelReader = Callable[[str], Image]


def evaluate(
    submission: str | Path,
    pairs: str | Path,
    *,
    against: str | Path | None = None,
    export: str | Path | None = None,
    names: SubmissionNames = "current",
    label_names: LabelNames | None = None,
    resplit: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Evaluation:
    """Score a submission on a list of pairs with label maps.

    Args:
        submission: A folder or zip with a Learn2Reg displacement or a folder of ``mics register`` for every pair, see
            :mod:`mics.evaluation.submission`.
        pairs: A CSV file or a Learn2Reg folder, see :func:`mics.data.pairs.read_pairs`.
        against: Another submission for the same pairs, to test the difference.
        export: Where to write the deformations as a Learn2Reg submission too, a new folder or ``.zip``.
        names: Of its files: those of the challenge's current script, or of that of 2020.
        label_names: What the labels mean, a mapping or a file (:func:`mics.data.label_names.read_label_names`); by default what
            the label maps' files or their data set say. A label of which nothing is known keeps its number.
        resplit: Measure as the public re-split does (:mod:`mics.evaluation.resplit`), of a Learn2Reg folder on its test pairs;
            displacements at half the resolution are taken too.
        progress: Called with a few words as each pair begins.

    Returns:
        The measures of every pair and of all: overlaps 0 to 1, distances in mm; and the difference to ``against``.

    Raises:
        InputError: For a list or submission that cannot be read, lacks a pair, or does not fit the volumes: missing files and
            wrong sizes before anything is measured. Numbers that look like other units are a warning.
    """
    listed = read_pairs(pairs, needs=("labels",), which="resplit" if resplit else "validation")
    given = None if label_names is None else read_label_names(label_names)
    subjects = {member.name: member for pair in listed for member in (pair.fixed, pair.moving)}
    subjects = with_structures(subjects, given)
    labels = cache(lambda name: subjects[name].labels())
    checksum = cache(lambda name: _checksum(subjects[name]))
    half = resplit and export is None  # what is exported is of full size
    own, other = Submission(submission, halved=half), None if against is None else Submission(against, halved=half)
    odd: list[str] = []
    for one in (own, other):
        if one is not None:
            one.require(listed)
            for pair in listed:
                one.require_size(pair, labels(pair.fixed.name).grid)
            odd += one.odd_seconds(listed)
    for name in subjects:
        odd += filter(None, [one_value(labels(name).array, f"The label map of {name}")])
    meaning, disagreements = _label_names(subjects)
    if given is not None:
        meaning, disagreements = meaning | given, []
    with exported(export, names) as copy:
        scores, messages = _scored(own, listed, labels, checksum, progress, copy, resplit=resplit)
    messages = [*odd, *disagreements, *messages, *_without_labels(listed, scores, resplit=resplit)]
    if resplit and len(listed) < PAIRS:
        messages.append(f"{len(listed)} of the {PAIRS} pairs of the re-split's test: its figures are of all of them.")
    against_scores: list[PairScore] = []
    if other is not None:
        against_scores, more = _scored(other, listed, labels, checksum, progress, Export(), resplit=resplit)
        messages += more
    messages = list(dict.fromkeys(messages))  # both submissions may be told the same
    for message in messages:
        warnings.warn(message, UserWarning, stacklevel=2)
    return Evaluation(
        submission=own.path.name,
        pairs=[(pair.fixed.name, pair.moving.name) for pair in listed],
        scores=scores,
        summary=summarise(scores, meaning),
        warnings=messages,
        label_names=meaning,
        other=None if other is None else other.path.name,
        other_scores=against_scores,
        differences={} if other is None else compare(scores, against_scores),
        resplit=resplit,
    )


def _without_labels(pairs: list[PairSource], scores: list[PairScore], *, resplit: bool) -> list[str]:
    """A sentence where pairs have no Dice, as their label maps share no label."""
    without = [pair.name for pair, score in zip(pairs, scores, strict=True) if not score.dice]
    if resplit or not without:
        return []
    return [
        f"{some_of(len(without), len(pairs), 'pair')} {'has' if len(without) == 1 else 'have'} label maps without a label in "
        f"common, and so no Dice: {without[0]}{', ...' if len(without) > 1 else ''}."
    ]


def _label_names(subjects: Mapping[str, ScanSource]) -> tuple[dict[int, str], list[str]]:
    """What all label maps say that their labels mean, and a sentence where they contradict each other."""
    names: dict[int, str] = {}
    messages: list[str] = []
    for subject in subjects.values():
        own = subject.label_names()
        messages = messages or disagreement(names, own)
        names = own | names
    return names, messages


def _scored(
    submission: Submission,
    pairs: list[PairSource],
    labels: LabelReader,
    checksum: Callable[[str], str | None],
    progress: Callable[[str], None] | None,
    export: Export,
    *,
    resplit: bool,
) -> tuple[list[PairScore], list[str]]:
    """The scores of all pairs, a few at a time, and what looks wrong."""

    def work(numbered: tuple[int, PairSource]) -> tuple[PairScore, dict[str, float], list[str], list[str]]:
        number, pair = numbered
        if progress is not None:
            progress(f"{submission.path.name}: pair {number} of {len(pairs)}, {pair.name}")
        fixed, moving = labels(pair.fixed.name), labels(pair.moving.name)
        grid = fixed.grid
        forward = submission.forward(pair, fixed=grid, moving=moving.grid)
        export.add(pair, forward)
        backward = submission.backward(pair, fixed=grid, moving=moving.grid)
        seconds = submission.seconds(pair)
        if resplit:
            fixed, moving = halved(fixed), halved(moving)
            forward = halved_displacement(forward, fixed.grid.size)
            backward = None if backward is None else halved_displacement(backward, moving.grid.size)
        landmarks = landmarks_of(pair)
        beyond = outside_messages(landmarks, fixed=grid, moving=moving.grid)
        score = score_pair(fixed, moving, forward, backward, landmarks=landmarks, seconds=seconds)
        if resplit:
            score = absent_as_zero(score)
        numbering = numbering_warning(fixed.array, warp_labels(moving.array, forward))
        numbering = [f"{pair.name}: {message}" for message in numbering]
        return (
            score,
            overlaps(forward, fixed=fixed, moving=moving),
            numbering,
            [*submission.made_for_others(pair, grid, checksum), *(f"{pair.name}: {message}" for message in beyond)],
        )

    with ThreadPoolExecutor(min(_AT_A_TIME, torch.get_num_threads())) as pool:
        try:
            results = list(pool.map(work, enumerate(pairs, start=1)))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    scores, conventions, numberings, others = zip(*results, strict=True)
    message = convention_warning(list(conventions))
    messages = [] if message is None else [f"{submission.path.name}: {message}"]
    # Of all pairs, most often: the first says it.
    messages += list(itertools.chain.from_iterable(numberings))[:1]
    return list(scores), [*messages, *itertools.chain.from_iterable(others)]


def _checksum(member: ScanSource) -> str | None:
    """Of the scan's voxels, None where the list names no file of it."""
    return voxels_sha256(member.image()) if "image" in member.files else None


def landmarks_of(pair: PairSource) -> tuple[Points, Points] | None:
    """Landmarks of both scans, None if the list has none; raises InputError if it has those of one scan only."""
    fixed, moving = pair.fixed.landmarks, pair.moving.landmarks
    if fixed is None and moving is None:
        return None
    if fixed is None or moving is None:
        raise InputError(f"The pair {pair.name} has landmarks of one scan only; give those of both or of none.")
    return fixed(), moving()
