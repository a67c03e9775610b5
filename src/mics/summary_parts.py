"""The parts of a registration's summary, typed (:mod:`mics.run_summary` is the whole)."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Row = Annotated[list[float], Field(min_length=4, max_length=4)]
Matrix = Annotated[list[Row], Field(min_length=4, max_length=4)]
ByLabel = dict[str, float | None]


class Part(BaseModel):
    """A part of the summary. Keys of later versions are kept as they are."""

    model_config = ConfigDict(frozen=True, extra="allow", use_attribute_docstrings=True)


class GridSummary(Part):
    """Grid of a volume."""

    size: tuple[int, int, int]
    """Voxels along the array axes."""
    spacing_mm: tuple[float, float, float]
    origin_lps_mm: tuple[float, float, float]
    """Centre of voxel 0, 0, 0."""
    direction_lps: Annotated[list[float], Field(min_length=9, max_length=9)]
    """Row by row; column c is the unit vector along which array axis c runs."""
    orientation: str
    """Towards what the array axes run, such as LPS."""


class InputSummary(Part):
    """A scan as it was given."""

    path: str | None
    """Its file's or folder's own name, without the folders that it lies in; None for an array."""
    labels: str | None = None
    exclude: str | None = None
    """Mask of what is not compared."""
    lesions: str | None = None
    """Label map with one id a lesion."""
    grid: GridSummary
    voxels_sha256: str | None = None
    """SHA-256 of the scan's HU as float32, little-endian, the first axis running fastest: the same for every file of them."""
    labels_sha256: str | None = None
    """The same of the label map; None where none was given."""
    exclude_sha256: str | None = None
    lesions_sha256: str | None = None
    landmarks_sha256: str | None = None
    """SHA-256 of the landmarks' LPS mm as float64, little-endian, point by point."""


class Inputs(Part):
    """Both scans."""

    fixed: InputSummary
    moving: InputSummary


class ModelSummary(Part):
    """A model that was used."""

    name: str
    sha256: str
    spacing_mm: float


class SettingsSummary(Part):
    """Settings of the registration."""

    affine: str
    """``organs``, ``ants``, ``none``, ``array`` or the file's name."""
    affine_model: ModelSummary | None = None
    """By which the organs were found that the affine lays upon each other."""
    steps: int
    """Of the network; 0 for one patient, whose scans are refined from rest."""
    refine: str
    """``none``, an effort (``fast``, ``accurate``), or the names of the stages that were given."""
    topology: Literal["free", "preserve"] = "free"
    same_patient: bool = False
    lesions: Literal["keep", "exclude"] = "keep"
    """``keep``: lesions keep their volume; ``exclude``: the deformation is continued through them."""
    device: str
    model: ModelSummary | None
    """None for one patient, where no network predicts."""
    segmentation_model: ModelSummary | None
    """None where no organs were looked for."""


class VerdictSummary(Part):
    """Whether it worked, as far as it shows."""

    word: Literal["good", "look", "failed"]
    reasons: list[str]


class FieldOfView(Part):
    """Shares of the network's grid, 0 to 1."""

    moving_share: float
    fixed_share: float
    shared_by_both: float


class Geometry(Part):
    """Position of the scans to each other, and what both show."""

    affine_fixed_to_moving_lps_mm: Matrix
    """Takes points of the fixed scan to the moving one."""
    network_grid: GridSummary
    """Of the voxels that networks and refinement see, in the space half-way between the scans."""
    half_way_to_fixed_lps_mm: Matrix | None = None
    """Takes points of that space to the fixed scan, and the next one to the moving scan; None in earlier versions."""
    half_way_to_moving_lps_mm: Matrix | None = None
    field_of_view: FieldOfView


class Folds(Part):
    """Shares of voxels, 0 to 1, at which a deformation folds: of the delivered transforms, and on the network's grid."""

    moving_to_fixed: float
    fixed_to_moving: float
    network_grid_moving_to_fixed: float
    network_grid_fixed_to_moving: float


class Range(Part):
    """Range of the Jacobian determinant; None where it is not finite."""

    min: float | None
    max: float | None


class MeanAndMax(Part):
    """Mean and maximum of distances in mm; None where no point can be compared."""

    mean: float | None
    max: float | None


class RangePair(Part):
    """Ranges by direction."""

    moving_to_fixed: Range
    fixed_to_moving: Range


class DistancePair(Part):
    """Inverse error by direction: by how much points that go through it and back through the other miss themselves."""

    moving_to_fixed: MeanAndMax
    fixed_to_moving: MeanAndMax


class LabelScores(Part):
    """Agreement of the labels that both maps hold, by label, after registration and with the affine alone."""

    dice: dict[str, float]
    hd95_mm: ByLabel
    mda_mm: ByLabel = {}
    """Mean distance to agreement."""
    mean_dice: float | None
    dice_affine_only: dict[str, float]
    hd95_mm_affine_only: ByLabel = {}
    mda_mm_affine_only: ByLabel = {}
    mean_dice_affine_only: float | None
    worst_label: str | int | None = None
    """That of the smallest Dice."""


class LabelPair(Part):
    """Scores of the labels by direction, on the grid of the scan that it fills."""

    moving_to_fixed: LabelScores
    fixed_to_moving: LabelScores


class LandmarkScores(Part):
    """Target registration error of the fixed landmarks, after registration and with the affine alone."""

    count: int
    tre_mm: MeanAndMax
    tre_mm_affine_only: MeanAndMax


class StoredTransform(Part):
    """Storage of a transform, where its file may be off by a tolerance."""

    size: tuple[int, int, int]
    """Voxels of the file's grid."""
    spacing_mm: tuple[float, float, float]
    bytes: int | None
    largest_error_mm: float
    """At any voxel of the scan that it fills."""


class SteeringLabels(Part):
    """Labels that steered: their overlap says that they were followed, and not how good the result is."""

    ids: list[int]
    weight: float
    """Of their overlap in the refinement's loss."""


class SteeringLandmarks(Part):
    """Landmarks that steered: their distances say that they were followed, and not how good the result is."""

    count: int
    weight_per_mm: float
    """Of each in the refinement's loss, for every mm that it is missed by."""
    tolerance_mm: float | None
    """How near they were to come; None where they were a term among others."""


class SteeringSummary(Part):
    """Labels and landmarks that the refinement followed beside images and organ maps."""

    labels: SteeringLabels | None
    landmarks: SteeringLandmarks | None


class LesionRow(Part):
    """A lesion in two scans of a patient. A volume is 0 where it is new or gone; None is what cannot be said."""

    moving_ml: float | None
    fixed_ml: float | None
    change_ml: float | None
    """From moving to fixed."""
    change_percent: float | None
    jacobian: float | None
    """How many times its volume the moving lesion has once it is brought to the fixed scan; of the whole transform."""
    growth: float | None
    """Fixed volume over moving volume."""
    growth_not_absorbed: float | None
    """Fixed volume over that of the moving lesion once it is brought there."""


class BeforeAndAfter(Part):
    """A measure with the affine alone and after registration; None where there is nothing to compare."""

    affine: float | None = None
    result: float | None = None


class OrganEvidence(Part):
    """An organ as the network finds it; a Dice is None where only one scan shows it."""

    moving_ml: float
    """In the scan itself, not as the affine has scaled it; likewise of the fixed scan."""
    fixed_ml: float
    dice_affine: float | None
    dice_result: float | None
    volume_ratio: float | None = None
    """How many times its volume the moving organ has once it is warped, beyond the affine, as far as both scans show it."""


class EvidenceSummary(Part):
    """Evidence that the verdict stands on (:func:`mics.registration.evidence.gather`)."""

    organs: dict[str, OrganEvidence] = {}
    """By name."""
    organ_overlap: BeforeAndAfter = BeforeAndAfter()
    """Of all organs together, twice the shared volume over the sum of volumes."""
    certainty: dict[str, float | None] = {}
    """Of the network, of organs, by scan."""
    large_organs: dict[str, int] = {}
    """How many of six are found, by scan."""
    tissue_shares: dict[str, dict[str, float | None]] = {}
    """Of the body, by scan: ``fat`` below -30 HU, ``dense`` above 140 HU."""
    tissue_peaks_hu: dict[str, dict[str, float] | None] = {}
    """By scan, where the histogram has those of ``fat`` and ``soft`` tissue."""
    similarity: BeforeAndAfter = BeforeAndAfter()
    """Correlation of the abdominal windows over tissue."""
    body_without_data: dict[str, float | None] = {}
    """Share, by direction."""
    disorder: dict[str, list[str]] = {}
    """By scan, pairs of organs that lie the wrong way round."""
    deformation: dict[str, float | None] = {}
    """Within tissue: 99th percentile of its length in mm, and SdLogJ."""


class CertificateSummary(Part):
    """Changes that a transform without folds took, and what holds now (:class:`mics.deformation.topology.Certificate`)."""

    voxels_changed: int
    largest_change_mm: float
    mean_change_mm: float
    """Over the voxels that changed."""
    least_central: float
    """The smallest Jacobian determinant now, by central differences at every voxel."""
    least_tetrahedron: float
    """The smallest now, over the ten tetrahedra of every cell."""
    folds_before: float | None = None
    """Share of voxels, 0 to 1, by central differences."""
    folds_after: float | None = None
    ndv_percent_before: float | None = None
    """The non-diffeomorphic volume."""
    ndv_percent_after: float | None = None
    seconds: float | None = None


class PeakMemory(Part):
    """Largest memory in GB since the process began; None where it is not known."""

    process: float | None
    gpu: float | None


class Environment(Part):
    """Environment that the last digits depend on."""

    torch: str
    numpy: str
    simpleitk: str
    isal: str | None = None
    """What packs transforms: on it the bytes of a file depend, not what it holds."""
    threads: int
    """With which torch computed."""
    cpu_capability: str
    """The instructions that torch uses, such as AVX2."""
    gpu: str | None
    """Its name, where one computed."""
