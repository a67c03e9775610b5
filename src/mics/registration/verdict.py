"""Whether a registration worked, as far as it shows: *good*, *look* or *failed*, and why.

The bounds are chosen on good pairs and on failures that were made on purpose, with margins to both sides
(``benchmarks/verdict.py``; the table is in docs/verdict.md).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from mics.summary_parts import BeforeAndAfter, DistancePair, EvidenceSummary, LabelPair, OrganEvidence, Part

Word = Literal["good", "look", "failed"]

_FAILED_OVERLAP, _LOOK_OVERLAP = 0.65, 0.8
_LOOK_ORGANS = 3
_FAILED_SIMILARITY, _LOOK_SIMILARITY = 0.3, 0.65
_FAILED_LOST, _LOOK_LOST = 0.5, 0.2
_LOOK_CERTAINTY = 0.85
_LOOK_LARGE_ORGAN = 0.3
_LOOK_VOLUME = 4.0
_FAT_HU = (-127.0, -67.0)
_MIN_FAT, _MAX_DENSE = 0.1, 0.3
_LARGE = ("spleen", "right kidney", "left kidney", "liver", "stomach", "aorta")
# A stomach is full or empty, and how much is seen of an aorta depends on the scan.
_SOLID = _LARGE[:4]
_LOOK_INVERSE_MM = 10.0
_LOOK_SD_LOG_JACOBIAN = 0.8
_LOOK_GIVEN = 0.2
_ROLES = {"moving_to_fixed": ("fixed", "moving"), "fixed_to_moving": ("moving", "fixed")}


@dataclass(frozen=True)
class Verdict:
    """``good``: nothing speaks against it; ``look``: something does, see the picture; ``failed``: do not use it."""

    word: Word
    reasons: tuple[str, ...]

    def because(self, causes: Sequence[str]) -> "Verdict":
        """The same verdict with its causes said first."""
        return Verdict(self.word, (*causes, *self.reasons))


class VerdictInputs(Part):
    """What the verdict stands on: parts of a run's summary, or those in its place."""

    evidence: EvidenceSummary | None
    inverse_consistency_mm: DistancePair
    labels: LabelPair | None


def judge(inputs: VerdictInputs, warnings: Sequence[str] = ()) -> Verdict:
    """The verdict on a registration.

    Args:
        inputs: What is known of it.
        warnings: Sentences that ask for a look in any case.

    Returns:
        The word, and a sentence for each reason, those of a failure first. ``good`` has none.
    """
    evidence = inputs.evidence
    failures, questions = _label_overlap(inputs.labels)
    questions += [*warnings, *_inverse(inputs.inverse_consistency_mm)]
    if evidence is None:
        questions.append(
            "No organs were looked for with these settings, so nothing shows whether they match: see the picture."
        )
    else:
        failures += [*_order(evidence), *_failures(evidence)]
        questions += _questions(evidence)
    if failures:
        return Verdict("failed", (*failures, *questions))
    return Verdict("look" if questions else "good", tuple(questions))


def _failures(evidence: EvidenceSummary) -> Iterator[str]:
    overlap, similarity = evidence.organ_overlap, evidence.similarity
    if overlap.result is not None and overlap.result < _FAILED_OVERLAP:
        yield _apart(overlap)
    if similarity.result is not None and similarity.result < _FAILED_SIMILARITY:
        yield _unlike(similarity)
    for direction, share in evidence.body_without_data.items():
        if share is not None and share > _FAILED_LOST:
            yield _lost(direction, share)


def _questions(evidence: EvidenceSummary) -> Iterator[str]:
    for role, count in evidence.large_organs.items():
        if count < _LOOK_ORGANS:
            yield (
                f"In the {role} scan only {count} of six large organs are found: is it a CT of the abdomen in HU, and its header "
                "the right way round?"
            )
    overlap, similarity = evidence.organ_overlap, evidence.similarity
    if overlap.result is None:
        yield "No organ of the network's is seen in both scans, so nothing shows whether they match."
    elif _FAILED_OVERLAP <= overlap.result < _LOOK_OVERLAP:
        yield _apart(overlap)
    if similarity.result is None or _FAILED_SIMILARITY <= similarity.result < _LOOK_SIMILARITY:
        yield _unlike(similarity)
    for direction, share in evidence.body_without_data.items():
        if share is not None and _LOOK_LOST < share <= _FAILED_LOST:
            yield _lost(direction, share)
    for organ in _LARGE:
        found = evidence.organs.get(organ)
        if found and found.dice_result is not None and found.dice_result < _LOOK_LARGE_ORGAN:
            yield f"The {organ} of one scan does not come to lie on that of the other (Dice {found.dice_result:.2f})."
    yield from _volumes(evidence.organs)
    for role, shares in evidence.tissue_shares.items():
        yield from _tissues(role, shares)
    for role, peaks in evidence.tissue_peaks_hu.items():
        if peaks is not None and evidence.large_organs[role] >= _LOOK_ORGANS:
            yield from _peaks(role, peaks)
    for role, certainty in evidence.certainty.items():
        if certainty is not None and certainty < _LOOK_CERTAINTY:
            yield (
                f"The network is unsure of the organs in the {role} scan ({certainty:.2f} of 1, usual is .87 and more): "
                "it may differ from the scans that it was trained on."
            )
    spread = evidence.deformation.get("sd_log_jacobian")
    if spread is not None and spread > _LOOK_SD_LOG_JACOBIAN:
        yield f"Volumes change more than between two patients: SdLogJ {spread:.2f} within the body."


def _volumes(organs: Mapping[str, OrganEvidence]) -> Iterator[str]:
    for organ in _SOLID:
        ratio = organs[organ].volume_ratio if organ in organs else None
        if ratio is not None and not 1 / _LOOK_VOLUME <= ratio <= _LOOK_VOLUME:
            change = f"{ratio:.1f} times" if ratio > 1 else f"1/{1 / ratio:.1f} of" if ratio > 0 else "none of"
            yield f"The {organ} has {change} its volume once it is warped: more than two patients differ."


def is_like_ct(shares: Mapping[str, float | None]) -> bool:
    """Whether nothing speaks against CT in a body of these :func:`mics.registration.evidence.tissue_shares`."""
    return not any(_tissues("", shares))


def _tissues(role: str, shares: Mapping[str, float | None]) -> Iterator[str]:
    if shares["fat"] is not None and shares["fat"] < _MIN_FAT:
        yield (
            f"Of the body in the {role} scan {shares['fat']:.0%} has the values of fat (-116 to -30), usual is a quarter to a "
            "half: are they HU, and of a CT?"
        )
    if shares["dense"] is not None and shares["dense"] > _MAX_DENSE:
        yield (
            f"Of the body in the {role} scan {shares['dense']:.0%} has values above 140, as bone and contrast medium, usual is "
            "up to a fifth: are they HU, and of a CT?"
        )


def _peaks(role: str, peaks: Mapping[str, float]) -> Iterator[str]:
    if not _FAT_HU[0] <= peaks["fat"] <= _FAT_HU[1]:
        yield (
            f"In the {role} scan fat has values near {peaks['fat']:.0f} and soft tissue near {peaks['soft']:.0f}, usual are "
            "-115 to -80 and 30 to 130: its rescale intercept or slope may be missing or wrong."
        )


def _order(evidence: EvidenceSummary) -> Iterator[str]:
    for role, phrases in evidence.disorder.items():
        if phrases:
            yield (
                f"In the {role} scan the organs seem to lie the wrong way round after the affine ({'; '.join(phrases)}): the "
                "affine, that scan's header or what it shows may be the cause."
            )


def _label_overlap(labels: LabelPair | None) -> tuple[list[str], list[str]]:
    """What their overlap in the worse direction says against it, as a failure or a question."""
    if labels is None:
        return [], []
    directions = (labels.moving_to_fixed, labels.fixed_to_moving)
    means = ((scores.mean_dice, scores.mean_dice_affine_only) for scores in directions)
    known = [(after, before) for after, before in means if after is not None and before is not None]
    low = [(after, before) for after, before in known if after < max(before, _LOOK_GIVEN)]
    # Small things, as lesions, overlap little in good registrations too.
    failed = [(after, before) for after, before in low if after < min(before, _LOOK_GIVEN)]
    if not low:
        return [], []
    after, before = min(failed or low)
    message = f"The given labels overlap by {after:.2f} after registration, by {before:.2f} with the affine alone."
    return ([message], []) if failed else ([], [message])


def _inverse(errors: DistancePair) -> Iterator[str]:
    largest = max(errors.moving_to_fixed.max or 0.0, errors.fixed_to_moving.max or 0.0)
    if largest > _LOOK_INVERSE_MM:
        yield f"The inverse-consistency error is up to {largest:.1f} mm: there and back, a point misses itself by that."


def _apart(overlap: BeforeAndAfter) -> str:
    before = "" if overlap.affine is None else f", by {overlap.affine:.2f} with the affine alone"
    return f"The organs found in both scans overlap by {overlap.result:.2f} after registration{before} (usual is .8 and more)."


def _unlike(similarity: BeforeAndAfter) -> str:
    if similarity.result is None:
        return "There is no tissue that both scans show, so they cannot be compared."
    return (
        f"The warped scan hardly looks like the other one: correlation {similarity.result:.2f} (usual is .75 and more)."
    )


def _lost(direction: str, share: float) -> str:
    target, source = _ROLES[direction]
    return f"{share:.0%} of the body in the {target} scan is filled from beyond the {source} scan's field of view."
