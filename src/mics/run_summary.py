"""The summary of a registration as a contract: what ``summary.json`` holds, and its JSON schema (summary.schema.json).

A registration writes it; reports, batches, evaluations and exports read it.
"""

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from mics.errors import InputError, MissingFileError, first_problem
from mics.files.paths import as_path
from mics.summary_parts import (
    CertificateSummary,
    DistancePair,
    Environment,
    EvidenceSummary,
    Folds,
    Geometry,
    Inputs,
    LabelPair,
    LandmarkScores,
    LesionRow,
    Part,
    PeakMemory,
    RangePair,
    SettingsSummary,
    SteeringSummary,
    StoredTransform,
    VerdictSummary,
)

SCHEMA_VERSION = 2
"""Raised whenever a key changes its meaning or goes; a new key does not raise it.

In 1, the networks' grid lay in the fixed scan's world, and the volume of a moving organ was the one after the affine.
"""

SCHEMA = Path(__file__).parent / "summary.schema.json"
"""The schema as a file, for programs that are not in Python."""


class RunSummary(Part):
    """``summary.json`` and :attr:`mics.Registration.summary`: shares are 0 to 1, lengths mm, places LPS.

    What is None was not asked for, or cannot be said. What versions before the first schema did not say is None, too, or empty.
    """

    schema_version: int = Field(1, ge=1)
    mics_version: str
    finished: str
    """Date and time in ISO 8601, UTC."""
    inputs: Inputs
    settings: SettingsSummary
    verdict: VerdictSummary | None = None
    geometry: Geometry
    folds: Folds
    jacobian: RangePair | None = None
    inverse_consistency_mm: DistancePair
    labels: LabelPair | None
    label_names: dict[str, str] = Field(default={})
    """Of the labels that either scan shows, as far as they are known."""
    landmarks: LandmarkScores | None = None
    steering: SteeringSummary | None = None
    lesions: dict[str, LesionRow] | None = None
    """By id of the lesion maps."""
    topology: dict[str, CertificateSummary] | None = None
    """By direction, where transforms without folds were asked for."""
    stages: dict[str, dict[str, Any]] | None = None
    """What the stages report that were given in place of ours, by their names."""
    stored_transforms: dict[str, StoredTransform] | None = None
    """By direction; None for files that keep everything to 1/256 mm."""
    evidence: EvidenceSummary | None = None
    """What the verdict stands on; None where no organs were looked for."""
    seconds: dict[str, float]
    """By stage, and in ``total``."""
    peak_memory_gb: PeakMemory | None = None
    environment: Environment | None = None
    warnings: list[str]

    @property
    def total_seconds(self) -> float:
        """Seconds of the whole registration."""
        return self.seconds["total"]


def read_summary(path: str | Path) -> RunSummary:
    """Read the summary that ``mics register`` has written.

    Args:
        path: A ``summary.json`` of this version or an earlier one.

    Returns:
        Its content, typed.

    Raises:
        InputError: For a file that is missing, no summary, or of a later schema than this version knows.
    """
    path = as_path(path)
    try:
        text = path.read_bytes()
    except OSError as error:
        raise MissingFileError(f"{path} cannot be read ({error.strerror}).") from error
    return parse_summary(text, path)


def parse_summary(text: bytes, path: Path) -> RunSummary:
    """The summary that is the content of ``path``. Raises :class:`InputError` for what is none, or of a later schema."""
    try:
        summary = RunSummary.model_validate_json(text)
    except ValidationError as error:
        raise InputError(f"{path} is not the summary of a registration: {first_problem(error)}.") from error
    if summary.schema_version > SCHEMA_VERSION:
        raise InputError(f"{path} was written by a later version of MICS ({summary.mics_version}): update this one.")
    return summary
