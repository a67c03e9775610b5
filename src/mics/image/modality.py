"""Whether a header of NIfTI, NRRD or MetaImage says that a volume is no CT.

Only known words are repeated in sentences: a header's free text may be about the patient.
"""

import re
import warnings
from pathlib import Path

from mics.image import nifti, text_headers

_OTHERS = {"MR", "MRI", "DWMRI", "PT", "PET", "NM", "SPECT", "US", "XA", "CR", "DX", "MG", "RTDOSE", "SEG"}
_TEXT_FIELDS = ("modality", "modality:", "dicom_0008_0060_modality:", "dicom_0008_0060:")
# What dcm2niix writes of MR, of CT with times of 0 where it is an old one; and the words themselves.
_ECHO, _WORD, _CT = re.compile(r"\bT[ER]=[0.]*[1-9]"), re.compile(r"\b(MRI?|PET|SPECT)\b"), re.compile(r"\bCT\b")
# NIfTI's statistics (nifti1.h, NIFTI_FIRST_STATCODE to NIFTI_LAST_STATCODE), and numbers that name things.
_STATISTICS, _LABELS = range(2, 25), 1002


def warn_of_other_kind(path: Path) -> None:
    """Warn where a file's header says that it holds another modality than CT, statistics or labels."""
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        kind = _of_nifti(path)
    elif name.endswith((".nrrd", ".nhdr", ".mha", ".mhd")):
        kind = _of_text(path)
    else:
        return
    if kind is not None:
        warnings.warn(f"{path} holds {kind}, not CT.", UserWarning, stacklevel=3)


def _of_nifti(path: Path) -> str | None:
    header = nifti.header_of(path)
    intent = int(header["intent_code"])
    if intent in _STATISTICS:
        return f"a statistic, as its header says (intent_code {intent})"
    if intent == _LABELS:
        return f"labels, as its header says (intent_code {intent})"
    text = bytes(header["descrip"]).rstrip(b"\0").decode("latin-1")
    if _CT.search(text):
        return None
    if _ECHO.search(text):
        return "MR, as its header tells an echo or repetition time (descrip)"
    found = _WORD.search(text)
    return f"{found[1]}, as its header says (descrip)" if found else None


def _of_text(path: Path) -> str | None:
    fields = text_headers.header_fields(path)
    for field in _TEXT_FIELDS:
        word = fields.get(field, "").strip().upper().removeprefix("MET_MOD_")
        if word in _OTHERS:
            return f"{word}, as its header says ({field.rstrip(':')})"
    return None
