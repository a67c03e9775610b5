"""Labels carried over from several labelled scans to a new one: registered one by one, then fused."""

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Literal
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from mics.atlas.folder import (
    Clock,
    failure_message,
    pin_inputs,
    read_json,
    require_progress,
    state_of_files,
    write_json,
)
from mics.atlas.fusion import Atlases, Fused, fuse, require_fusion
from mics.atlas.members import given_members, meaning
from mics.atlas.registering import AtlasSettings, in_view, register_scans
from mics.atlas.tables import to_csv
from mics.choices import FusionName, Refine
from mics.data.cohorts.learn2reg import DATASET_FILE, Learn2RegCase
from mics.data.label_names import LabelNames, label_name, read_label_names
from mics.data.pairs import ScanSource
from mics.deformation.provenance import voxels_sha256
from mics.errors import InputError, InsufficientMemoryError, RunError, SettingError, counted
from mics.evaluation.numbering import unlike_numbering
from mics.files.folder import own_folder, write_together
from mics.files.paths import as_path
from mics.files.whole import write_text
from mics.image.available import available_host_bytes
from mics.image.grid import Grid
from mics.image.io import Image, read_image, read_labels, write_image, write_labels
from mics.network.weights import DEFAULT_REGISTRATION
from mics.registration.findings import other_names
from mics.registration.inputs import load_scan
from mics.registration.same_scan import is_same_scan
from mics.registration.verdict import Word

ATLASES = "atlases"
_NOTE, _RECORD = "propagate.json", "record.json"
_IMAGE, _LABELS, _VIEW = "image.nii.gz", "labels.nii.gz", "in_view.nii.gz"
_MIN_ATLASES = 3
_MIN_AGREEMENT = 0.5
_NAMED = 5
"""Atlases that a reason names."""
_BYTES_PER_VOXEL = 5
"""Of each atlas: HU, labels, and whether it is seen."""


@dataclass(frozen=True)
class AtlasOutcome:
    """An atlas: whether it took part in the fusion, the verdict on its registration (None without one), and why."""

    name: str
    used: bool
    verdict: Word | None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Volume:
    """A label's volume in millilitres: ``fused_ml``, and over the atlases used that have the label.

    ``agreement``: the mean over the label's voxels of the share of atlases that show it there; None where the fusion has none.
    """

    label: int
    name: str
    fused_ml: float
    atlases: int
    mean_ml: float
    sd_ml: float
    least_ml: float
    largest_ml: float
    agreement: float | None


@dataclass(frozen=True, eq=False)
class Propagation:
    """Labels carried over from several atlases.

    ``labels`` and ``agreement`` (float32, the share of the atlases in view that show the voxel's label) lie on the scan's grid.
    ``verdict``: good or look, ``reasons`` why.
    """

    labels: Image
    agreement: Image
    label_names: Mapping[int, str]
    volumes: Sequence[Volume]
    atlases: Sequence[AtlasOutcome]
    verdict: Literal["good", "look"]
    reasons: Sequence[str]

    def __repr__(self) -> str:
        used = sum(atlas.used for atlas in self.atlases)
        return f"Propagation({self.labels.grid}; {used} of {len(self.atlases)} atlases; {self.verdict})"


def propagate(
    scan: str | Path | Image,
    atlases: str | Path | Sequence[ScanSource],
    output: str | Path,
    *,
    fusion: FusionName = "joint",
    label_names: LabelNames | None = None,
    model: str | Path = DEFAULT_REGISTRATION,
    refine: Refine = "fast",
    device: str = "auto",
    progress: Callable[[str], None] = lambda _: None,
) -> Propagation:
    """Register labelled scans to a new one, fuse their labels, and write everything into ``output``.

    An atlas that is done is not registered again, so that an interrupted run goes on, and another ``fusion`` into the same folder
    takes no registration. An atlas that cannot be read, is the scan itself, or whose registration has failed by its verdict,
    is left out and reported (:class:`AtlasOutcome`).

    Args:
        scan: A file, a DICOM folder or an Image, in HU. A file of a Learn2Reg folder is read as its atlases are.
        atlases: A folder or CSV file that :func:`mics.atlas.members.read_members` reads, or its members.
        output: A new or empty folder, or one that this has been begun in. It gets ``labels.nii.gz``, ``agreement.nii.gz``,
            ``volumes.csv``, ``atlases.csv``, ``label_names.json`` and ``summary.json``, and a folder an atlas in ``atlases/``.
        fusion: A rule of :data:`mics.atlas.fusion.FUSIONS`: ``majority``, ``local`` or ``joint``.
        label_names: What the labels mean; by default what the atlases' files or their data set say.
        model: As in :func:`mics.registration.register.register`; so are ``refine`` and ``device``.
        refine: How much work is spent on each registration.
        device: Where the networks run.
        progress: Called with a few words as each step begins.

    Returns:
        The labels, the agreement, the spread of volumes, and what became of each atlas.

    Raises:
        InputError: For a scan or settings that cannot be used, label maps that use one number for different things, a folder
            that holds something else or other work, and where no atlas is left.
    """
    settings = AtlasSettings(model=model, refine=refine, device=device)
    require_fusion(fusion)
    require_progress(progress)
    members = given_members(atlases, "The atlases", labelled=True)
    if not members:
        raise SettingError("There is no atlas: give at least one labelled scan.")
    names = meaning(members) if label_names is None else read_label_names(label_names)
    settings.refuse_unusable()
    target, written = _read_target(scan)
    _require_memory(target.grid, len(members))
    with own_folder(output, _NOTE, "labels carried over from atlases") as folder:
        pin_inputs(
            folder,
            _NOTE,
            {
                "scan": voxels_sha256(target),
                "grid": target.grid.to_dict(),
                **settings.to_dict(),
                "version": version("mics-registration"),
            },
        )
        outcomes = _registered(target, members, folder / ATLASES, settings, progress)
        used = [outcome.name for outcome in outcomes if outcome.used]
        if not used:
            raise RunError(f"No atlas is left of {len(outcomes)}. {outcomes[0].name}: {' '.join(outcomes[0].reasons)}")
        progress(f"Fusing {counted(len(used), 'atlas')} ({fusion})")
        shown = read_atlases([folder / ATLASES / name for name in used], target.grid)
        fused = fuse(target.array, shown, fusion)
        result = _summed_up(fused, shown, used, outcomes, names, written)
        progress("Writing")
        _write(result, folder, fusion=fusion, settings=settings)
    return result


def _read_target(scan: str | Path | Image) -> tuple[Image, Grid]:
    """The scan in HU, and the grid that its results are written with: that of its file's header."""
    if isinstance(scan, str | os.PathLike):
        path = as_path(scan)
        if (path.absolute().parent.parent / DATASET_FILE).is_file():
            return Learn2RegCase(path.name, path, None).image(), read_image(path).grid
    image = load_scan(scan, None, "fixed").image
    return image, image.grid


def _require_memory(grid: Grid, count: int) -> None:
    need, left = _BYTES_PER_VOXEL * count * float(np.prod(grid.size)), available_host_bytes()
    if left is not None and need > left:
        raise InsufficientMemoryError(
            f"Fusing {counted(count, 'atlas')} on this scan's grid needs {need / 1e9:.1f} GB of memory, and {left / 1e9:.1f} GB "
            "are left: give fewer atlases, or crop the scan to the abdomen."
        )


def _registered(
    target: Image, members: Sequence[ScanSource], folder: Path, settings: AtlasSettings, progress: Callable[[str], None]
) -> list[AtlasOutcome]:
    """All atlases registered to the scan, each into a folder of its own, those that are there already not again."""
    done = {member.name: _finished(folder / member.name, member) for member in members}
    clock, outcomes = Clock(sum(outcome is None for outcome in done.values())), []
    for number, member in enumerate(members, start=1):
        outcome = done[member.name]
        if outcome is None:
            progress(f"Atlas {number} of {len(members)}, {member.name}{clock}")
            try:
                outcome = _register_atlas(target, member, folder / member.name, settings)
            except InputError as error:
                outcome = AtlasOutcome(member.name, used=False, verdict=None, reasons=(failure_message(member, error),))
            clock.tick(worked=outcome.verdict is not None)
        outcomes.append(outcome)
    return outcomes


def _finished(folder: Path, member: ScanSource) -> AtlasOutcome | None:
    """What became of an atlas earlier; None if nothing, or if its files have changed since."""
    record = read_json(folder / _RECORD)
    if record is None or record["files"] != state_of_files(member):
        return None
    return _outcome(member.name, record["verdict"], record["reasons"])


def _outcome(name: str, verdict: Word, reasons: Sequence[str]) -> AtlasOutcome:
    return AtlasOutcome(name, used=verdict != "failed", verdict=verdict, reasons=tuple(reasons))


def _register_atlas(target: Image, member: ScanSource, folder: Path, settings: AtlasSettings) -> AtlasOutcome:
    image, labels = member.image(), member.labels()
    if is_same_scan(target, image):
        return AtlasOutcome(member.name, used=False, verdict=None, reasons=("It is the scan itself.",))
    if not (labels.array > 0).any():
        raise InputError(f"The label map of {member.name} is empty: give one with labels, or take the atlas away.")
    result = register_scans(settings, fixed=target, moving=image, moving_labels=labels)
    assert result.moving_labels_warped is not None
    verdict = result.verdict
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _RECORD).unlink(missing_ok=True)
    record = {"files": state_of_files(member), "verdict": verdict.word, "reasons": verdict.reasons}
    write_together(
        folder,
        {
            _IMAGE: partial(write_image, _whole(result.moving_warped)),
            _LABELS: partial(write_labels, result.moving_labels_warped),
            _VIEW: partial(write_labels, in_view(result.moving_to_fixed, image.grid)),
            "registration.json": partial(write_json, result.summary),
            _RECORD: partial(write_json, record),  # the last: where it is, everything is
        },
    )
    return _outcome(member.name, verdict.word, verdict.reasons)


def _whole(image: Image) -> Image:
    """HU as whole numbers: an eighth of the size of a float's file, half a HU away."""
    bounds = np.iinfo(np.int16)
    return Image(np.rint(image.array).clip(bounds.min, bounds.max).astype(np.int16), image.grid)


def read_atlases(folders: Sequence[Path], grid: Grid) -> Atlases:
    """What a propagation keeps of its atlases, one folder each, on the scan's grid."""
    maps = [read_labels(folder / _LABELS).array for folder in folders]
    kind = np.result_type(*maps)
    return Atlases(
        images=np.stack([read_image(folder / _IMAGE).array.astype(np.int16) for folder in folders]),
        labels=np.stack([labels.astype(kind, copy=False) for labels in maps]),
        in_view=np.stack([read_labels(folder / _VIEW).array > 0 for folder in folders]),
        spacing=grid.spacing,
    )


def _summed_up(
    fused: Fused,
    shown: Atlases,
    used: Sequence[str],
    outcomes: Sequence[AtlasOutcome],
    names: Mapping[int, str],
    grid: Grid,
) -> Propagation:
    values = np.unique([0, *np.unique(shown.labels)])
    counts = np.stack([_counts(labels, values) for labels in shown.labels])
    volumes = _volumes(fused, values, counts, names, float(np.prod(grid.spacing)) / 1000)
    reasons = [f"Atlas {one.name} is left out: {' '.join(one.reasons)}" for one in outcomes if not one.used]
    if len(used) < _MIN_ATLASES:
        reasons.append(
            f"Only {len(used)} of {counted(len(outcomes), 'atlas')} took part, so that errors of one are not outvoted."
        )
    reasons += [
        f"Atlases {first} and {second} are the same scan, which so votes twice: leave one of them out."
        for first, second in _doubled(used, shown.images)
    ]
    reasons += other_names(names, {str(value): names[value] for value in values.tolist() if value in names})
    for volume, shows in zip(volumes, counts.T[1:] > 0, strict=True):
        if volume.agreement is None:
            shown_by = f"{counted(volume.atlases, 'atlas')} {'shows' if volume.atlases == 1 else 'show'}"
            reasons.append(f"The fusion has no {volume.name}, which {shown_by}.")
        elif volume.agreement < _MIN_AGREEMENT:
            reasons.append(f"The atlases agree little on the {volume.name}: {volume.agreement:.0%} on average.")
        if lacking := [name for name, has in zip(used, shows, strict=True) if not has]:
            which = ", ".join(lacking[:_NAMED]) + (", ..." if len(lacking) > _NAMED else "")
            show = f"{len(lacking)} of {len(used)} atlases {'shows' if len(lacking) == 1 else 'show'}"
            reasons.append(f"{show} no {volume.name} ({which}): they vote for what else they show.")
    for name, labels in zip(used, shown.labels, strict=True):
        reasons += unlike_numbering(name, labels, fused.labels)
    return Propagation(
        labels=Image(fused.labels, grid),
        agreement=Image(fused.agreement, grid),
        label_names=names,
        volumes=volumes,
        atlases=outcomes,
        verdict="look" if reasons else "good",
        reasons=reasons,
    )


def _doubled(names: Sequence[str], images: NDArray[np.floating | np.integer]) -> list[tuple[str, str]]:
    """Pairs of atlases whose warped scans are the same, voxel by voxel: the same scan under two names."""
    checksums = [crc32(image.tobytes()) for image in images]
    return [
        (names[one], names[two])
        for one, two in itertools.combinations(range(len(names)), 2)
        if checksums[one] == checksums[two]
    ]


def _volumes(
    fused: Fused, values: NDArray[np.integer], counts: NDArray[np.intp], names: Mapping[int, str], voxel_ml: float
) -> list[Volume]:
    """A row a label that any atlas shows, of which ``counts`` has the voxels by atlas and by the labels in ``values``."""
    totals = _counts(fused.labels, values)
    agreed = np.bincount(
        np.searchsorted(values, fused.labels.ravel()), weights=fused.agreement.ravel(), minlength=len(values)
    )
    rows = []
    for column, label in enumerate(values):
        if label == 0:
            continue
        own = counts[counts[:, column] > 0, column] * voxel_ml
        rows.append(
            Volume(
                label=int(label),
                name=label_name(int(label), names),
                fused_ml=float(totals[column] * voxel_ml),
                atlases=len(own),
                mean_ml=float(own.mean()),
                sd_ml=float(own.std(ddof=1)) if len(own) > 1 else 0.0,
                least_ml=float(own.min()),
                largest_ml=float(own.max()),
                agreement=float(agreed[column] / totals[column]) if totals[column] else None,
            )
        )
    return rows


def _counts(labels: NDArray[np.integer], values: NDArray[np.integer]) -> NDArray[np.intp]:
    return np.bincount(np.searchsorted(values, labels.ravel()), minlength=len(values))


def _write(result: Propagation, folder: Path, *, fusion: str, settings: AtlasSettings) -> None:
    summary = {
        "verdict": {"word": result.verdict, "reasons": list(result.reasons)},
        "settings": {"fusion": fusion, **settings.to_dict()},
        "atlases": [asdict(outcome) for outcome in result.atlases],
        "volumes": [asdict(volume) for volume in result.volumes],
    }
    write_together(
        folder,
        {
            "labels.nii.gz": partial(write_labels, result.labels),
            "agreement.nii.gz": partial(write_image, result.agreement),
            "label_names.json": partial(write_json, {str(label): name for label, name in result.label_names.items()}),
            "volumes.csv": partial(write_text, to_csv([asdict(volume) for volume in result.volumes])),
            "atlases.csv": partial(write_text, to_csv([asdict(one) for one in result.atlases])),
            "summary.json": partial(write_json, summary),
        },
    )
