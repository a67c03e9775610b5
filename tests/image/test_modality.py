"""Headers that say that a volume is no CT."""

import warnings

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from mics.image.io import read_image

ARRAY = np.arange(210, dtype=np.int16).reshape(7, 6, 5)


def nifti(path, *, descrip=b"", intent=0):
    volume = nibabel.Nifti1Image(ARRAY, np.diag([1.0, 1, 5, 1]))
    volume.header["descrip"], volume.header["intent_code"] = descrip, intent
    nibabel.save(volume, path)
    return path


def text(path, fields):
    volume = sitk.GetImageFromArray(ARRAY)
    for name, value in fields.items():
        volume.SetMetaData(name, value)
    sitk.WriteImage(volume, str(path))
    if path.suffix == ".mha":  # ITK writes no Modality of its own
        lines = "".join(f"{name} = {value}\n" for name, value in fields.items()).encode()
        path.write_bytes(path.read_bytes().replace(b"NDims = 3\n", b"NDims = 3\n" + lines, 1))
    return path


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (lambda folder: nifti(folder / "a.nii.gz", descrip=b"TE=2.9;Time=101112.000;phase=1"), "MR, .*echo"),
        (lambda folder: nifti(folder / "a.nii", descrip=b"Doe^Jane MRI abdomen"), r"MRI, .*\(descrip\)"),
        (lambda folder: nifti(folder / "a.nii", intent=5), "a statistic"),
        (lambda folder: nifti(folder / "a.nii", intent=1002), "labels"),
        (lambda folder: text(folder / "a.mha", {"Modality": "MET_MOD_MR"}), r"MR, .*\(modality\)"),
        (lambda folder: text(folder / "a.nrrd", {"modality": "DWMRI"}), "DWMRI"),
        (lambda folder: text(folder / "a.nrrd", {"DICOM_0008_0060_Modality": "PT"}), "PT"),
    ],
)
def test_a_header_that_says_so_is_told(tmp_path, made, expected):
    path = made(tmp_path)
    with pytest.warns(UserWarning, match=f"{path.name} holds {expected}.*, not CT") as caught:
        read_image(path)
    assert "Doe" not in str(caught[0].message)


@pytest.mark.parametrize(
    "made",
    [
        lambda folder: nifti(folder / "a.nii", descrip=b"FSL5.0"),
        lambda folder: nifti(folder / "a.nii", descrip=b"Time=101112.000"),
        lambda folder: nifti(folder / "a.nii", descrip=b"", intent=1001),
        lambda folder: nifti(folder / "a.nii", descrip=b"TE=0;Time=143221.000"),  # an old dcm2niix, of CT
        lambda folder: nifti(folder / "a.nii", descrip=b"CT liver, prior MR 2019"),
        lambda folder: text(folder / "a.mha", {"Modality": "MET_MOD_CT"}),
        lambda folder: text(folder / "a.mha", {"Modality": "MET_MOD_UNKNOWN"}),
        lambda folder: text(folder / "a.nrrd", {"modality": "CT", "comment2": "MR"}),
    ],
)
def test_other_headers_are_no_reason_for_a_word(tmp_path, made):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_image(made(tmp_path))
