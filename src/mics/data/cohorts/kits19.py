"""KiTS19: ``case_00000/imaging.nii.gz`` and, for the first 210 subjects, ``segmentation.nii.gz`` (Heller et al. 2020).

The arrays run from head to foot, front to back, right to left (slices first), and the headers say so. Both kidneys have
label 1, tumours label 2.
"""

from pathlib import Path

from mics.data.cohorts.case import KIDNEYS, Adapter, Case, Cohort, not_laid_out, visible
from mics.organs import LEFT_KIDNEY, RIGHT_KIDNEY

IMAGE, LABELS = "imaging.nii.gz", "segmentation.nii.gz"
LAYOUT = f"case_00000/{IMAGE} and case_00000/{LABELS}, case_00001, ..."

_WRONG_LABELS = "its annotation takes another organ for a cyst, as the publisher has confirmed"
_TWICE = "a second contrast phase without annotation is appended to the first, as was reported to the publisher"
_DOUBTFUL = "the winners of the challenge found its annotation faulty and left it out"
KNOWN_BAD = {
    "case_00015": _WRONG_LABELS,
    **dict.fromkeys(("case_00025", "case_00061", "case_00117"), _TWICE),
    **dict.fromkeys(("case_00023", "case_00037", "case_00068", "case_00125", "case_00133"), _DOUBTFUL),
}


def open_kits19(folder: Path) -> Cohort:
    """The cases of a KiTS19 ``data`` folder. Raises :class:`InputError` if there is none."""
    folders = [path for path in visible(folder, "case_*") if (path / IMAGE).is_file()]
    if not folders:
        raise not_laid_out(folder, "KiTS19", LAYOUT)
    return Cohort(
        [_case(path) for path in folders if path.name not in KNOWN_BAD],
        {path.name: KNOWN_BAD[path.name] for path in folders if path.name in KNOWN_BAD},
    )


def _case(folder: Path) -> Case:
    labels = folder / LABELS
    if not labels.is_file():
        return Case(folder.name, folder / IMAGE, None, mapping={}, organs=())
    kidneys = (RIGHT_KIDNEY, LEFT_KIDNEY)
    return Case(folder.name, folder / IMAGE, labels, mapping={1: KIDNEYS, 2: KIDNEYS}, organs=kidneys)


KITS19 = Adapter(
    name="kits19",
    title="KiTS19",
    subjects="300 (210 annotated)",
    annotated="kidneys (tumours joined)",
    layout=LAYOUT,
    known_issues=f"slices are the first axis; left and right by the spine; {len(KNOWN_BAD)} known bad cases left out",
    open=open_kits19,
)
