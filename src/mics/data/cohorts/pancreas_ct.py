"""TCIA Pancreas-CT: a DICOM series a subject, and label files published apart from it (Roth et al. 2016, Gibson et al. 2018).

Expected in one folder: ``PANCREAS_0001/<study>/<series>/*.dcm``, as it was downloaded also in ``Pancreas-CT/`` or
``manifest-.../Pancreas-CT/``, and beside it ``TCIA_pancreas_labels-02-05-2017/label0001.nii.gz`` (1 is the pancreas) or
``label_tcia_multiorgan/label0001.nii.gz``, also in ``label_tciapancreasct_multiorgan/``
(ids as in BTCV, and 14 for the duodenum) or both; the second has, of 43 subjects, seven organs of our list.

A label file holds one voxel for each voxel of the series, but its header does not say where they lie.
"""

from itertools import product
from pathlib import Path

import numpy as np

from mics.data.cohorts.case import Adapter, Case, Cohort, not_laid_out, visible
from mics.errors import GeometryError
from mics.image.io import Image
from mics.organs import GALLBLADDER, LEFT_KIDNEY, LIVER, OESOPHAGUS, PANCREAS, SPLEEN, STOMACH

LAYOUT = "PANCREAS_0001/ with a DICOM series, and label0001.nii.gz in TCIA_pancreas_labels-02-05-2017 or label_tcia_multiorgan"
SEVEN = (SPLEEN, LEFT_KIDNEY, GALLBLADDER, OESOPHAGUS, LIVER, STOMACH, PANCREAS)
KNOWN_BAD = {
    f"PANCREAS_{number}": "the publisher withdrew it: it is PANCREAS_0002 again, cropped otherwise"
    for number in ("0025", "0070")
}

_SOFT_TISSUE_HU = (-150.0, 250.0)
_INCOMPLETE = "Its organs may not be annotated all the way beyond the rib cage."


class PancreasCase(Case):
    """A case whose label map is laid over the series voxel by voxel."""

    def align_to_image(self, labels: Image, image: Image) -> Image:
        """The labels on the series' grid, with rows and slices in the order that puts them onto one tissue.

        The publishers' files follow the series' own order; copies that passed a converter have rows or slices reversed.
        The right order is the one in which organs are most uniform. Left and right are never exchanged.
        """
        if labels.grid.size != image.grid.size:
            raise GeometryError(
                f"{self.labels_path} has {labels.grid.size} voxels, the series {self.image_path} {image.grid.size}: "
                "get both again from the publisher."
            )
        hu = np.clip(image.array, *_SOFT_TISSUE_HU)
        orders = [labels.array[:, ::rows, ::slices] for rows, slices in product((1, -1), repeat=2)]
        return Image(np.ascontiguousarray(min(orders, key=lambda order: _spread(hu, order))), image.grid)


def open_pancreas_ct(folder: Path) -> Cohort:
    """The subjects of whom there is a series. Raises :class:`InputError` if there is none."""
    subjects = [
        path for place in ("", "Pancreas-CT/", "*/Pancreas-CT/") for path in visible(folder, f"{place}PANCREAS_*")
    ]
    series = {path.name: places[0] for path in subjects if (places := _series(path))}
    if not series:
        raise not_laid_out(folder, "TCIA Pancreas-CT", LAYOUT)
    several, pancreas = (_labels(folder, pattern) for pattern in ("label_tcia_multiorgan", "TCIA_pancreas_labels*"))
    return Cohort(
        [_case(name, place, several, pancreas) for name, place in series.items() if name not in KNOWN_BAD],
        {name: KNOWN_BAD[name] for name in series if name in KNOWN_BAD},
    )


def _series(subject: Path) -> list[Path]:
    return sorted({path.parent for path in subject.rglob("*.dcm")})


def _labels(folder: Path, pattern: str) -> dict[str, Path]:
    """Label files by the subject's name."""
    places = [*visible(folder, pattern), *visible(folder, f"*/{pattern}")]
    files = [file for place in places for file in visible(place, "label[0-9]*.nii.gz")]
    return {f"PANCREAS_{file.name[5:9]}": file for file in files}


def _case(name: str, series: Path, several: dict[str, Path], pancreas: dict[str, Path]) -> Case:
    if name in several:
        mapping = {organ: organ for organ in SEVEN}
        return PancreasCase(name, series, several[name], mapping=mapping, organs=SEVEN, known_issues=(_INCOMPLETE,))
    if name in pancreas:
        return PancreasCase(name, series, pancreas[name], mapping={1: PANCREAS}, organs=(PANCREAS,))
    return PancreasCase(name, series, None, mapping={}, organs=())


def _spread(hu: np.ndarray, labels: np.ndarray) -> float:
    """Mean distance in HU of an organ's voxels from the organ's median."""
    organs = [hu[labels == value] for value in np.unique(labels) if value > 0]
    voxels = sum(map(len, organs))
    return sum(float(np.abs(organ - np.median(organ)).sum()) for organ in organs) / voxels if voxels else 0.0


PANCREAS_CT = Adapter(
    name="pancreas-ct",
    title="TCIA Pancreas-CT",
    subjects="80 (42 with several organs)",
    annotated="pancreas; of 42 also spleen, left kidney, gallbladder, oesophagus, liver, stomach",
    layout=LAYOUT,
    known_issues="label files without geometry are laid over the series; the two withdrawn cases left out",
    open=open_pancreas_ct,
)
