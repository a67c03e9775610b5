"""Digital subjects in folders laid out as the publishers of the cohorts lay out theirs, to measure and test preparation with.

    python benchmarks/generated_cohorts.py FOLDER --subjects 4 --spacing 4

writes FOLDER/learn2reg, learn2reg-2020, pancreas-ct, kits19, msd-liver, msd-pancreas, msd-spleen and nnunet/cohort.yaml.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from mics.data.phantom import Phantom, phantom
from mics.image.grid import Grid

# What the first subject of each cohort is; all are different.
_SEEDS = {
    name: 100 * (1 + place)
    for place, name in enumerate(("l2r", "tcia", "kits", "msd-liver", "msd-pancreas", "msd-spleen", "own"))
}
_BTCV_TO_TCIA = {1: 1, 3: 3, 4: 4, 5: 5, 6: 6, 7: 7, 11: 11}


def subject(cohort: str, number: int, spacing: float, orientation: str, shift_mm: float = 0.0) -> Phantom:
    """A generated subject on a grid that runs along the letters of ``orientation``, its world shifted along the body."""
    half = np.array([192.0, 160.0, 256.0]) - spacing / 2
    seed = _SEEDS[cohort] + number
    made = phantom(seed, Grid.axis_aligned(-half, half, spacing, orientation))
    x, y, z = made.image.grid.origin
    moved = Grid(made.image.grid.size, made.image.grid.spacing, (x, y, z + shift_mm), made.image.grid.direction)
    return Phantom(type(made.image)(made.image.array, moved), type(made.labels)(made.labels.array, moved))


def learn2reg(folder: Path, subjects: int, spacing: float) -> Path:
    """Today's release: all but the last two are the training, those are the validation pair, one more is the test."""
    listed, tests = [], []
    for number in range(1, subjects + 2):
        made = subject("l2r", number, spacing, "LAS")
        name, part = f"AbdomenCTCT_{number:04d}_0000.nii.gz", "Tr" if number <= subjects else "Ts"
        _save(made.image.array.astype(np.int16), _claimed(spacing), folder / f"images{part}" / name)
        if part == "Tr":
            _save(made.labels.array, _claimed(spacing), folder / "labelsTr" / name)
            listed.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
        else:
            tests.append({"image": f"./imagesTs/{name}"})
    pair = {"fixed": listed[-2]["image"], "moving": listed[-1]["image"]}
    content = {"name": "AbdomenCTCT", "training": listed, "test": tests, "registration_val": [pair]}
    (folder / "AbdomenCTCT_dataset.json").write_text(json.dumps(content, indent=1))
    return folder


def learn2reg_2020(folder: Path, subjects: int, spacing: float) -> Path:
    """The release of 2020, its first subjects; 0001 and 0004 are of its validation."""
    for number in range(1, subjects + 1):
        made = subject("l2r", number, spacing, "LAS")
        _save(
            made.image.array.astype(np.int16),
            _claimed(spacing),
            folder / "Training" / "img" / f"img{number:04d}.nii.gz",
        )
        _save(made.labels.array, _claimed(spacing), folder / "Training" / "label" / f"label{number:04d}.nii.gz")
    made = subject("l2r", 61, spacing, "LAS")
    _save(made.image.array.astype(np.int16), _claimed(spacing), folder / "Testing" / "img" / "img0061.nii.gz")
    return folder


def pancreas_ct(folder: Path, subjects: int, spacing: float) -> Path:
    """DICOM; the first subject with the labels of seven organs and the duodenum, the others with the pancreas alone."""
    for number in range(1, subjects + 1):
        made = subject("tcia", number, spacing, "LPS", shift_mm=-300)
        name = f"PANCREAS_{number:04d}"
        _save_series(made, folder / "Pancreas-CT" / name / "11-24-2015-PANC" / "Pancreas-63502", number)
        labels = made.labels.array
        several = np.zeros_like(labels)
        for organ, value in _BTCV_TO_TCIA.items():
            several[labels == organ] = value
        several[-3:, :3, :3] = 14  # a duodenum, wherever it is
        for place, array in (("label_tcia_multiorgan", several), ("TCIA_pancreas_labels-02-05-2017", labels == 11)):
            if place.startswith("TCIA") or number == 1:
                header = np.diag([*made.labels.grid.spacing, 1.0])  # no word of where the patient is
                _save(array.astype(np.uint8), header, folder / place / f"label{number:04d}.nii.gz")
    return folder


def kits19(folder: Path, subjects: int, spacing: float) -> Path:
    """Slices first, from head to foot; kidneys 1, a tumour 2 in the left one; the last subject is of the test."""
    for number in range(subjects + 1):
        made = subject("kits", number, spacing, "IPL", shift_mm=500)
        case = folder / (f"case_{number:05d}" if number < subjects else "case_00210")
        _save(made.image.array.astype(np.float32), affine_of(made.image.grid), case / "imaging.nii.gz")
        if number < subjects:
            labels = np.isin(made.labels.array, (2, 3)).astype(np.uint8)
            left = np.argwhere(made.labels.array == 3)
            i, j, k = left.mean(axis=0).astype(int)
            tumour = made.labels.array[i - 2 : i + 2, j - 2 : j + 2, k - 2 : k + 2] == 3
            labels[i - 2 : i + 2, j - 2 : j + 2, k - 2 : k + 2][tumour] = 2
            _save(labels, affine_of(made.image.grid), case / "segmentation.nii.gz")
    return folder


def msd(task: str, organ: int, orientation: str, dtype: type) -> Callable[[Path, int, float], Path]:
    """A task of the decathlon: liver, pancreas or spleen; its last subject is of the test."""
    names = {0: "background", 1: task, **({} if task == "spleen" else {2: "cancer"})}

    def write(folder: Path, subjects: int, spacing: float) -> Path:
        training, test = [], []
        for number in range(subjects + 1):
            made = subject(f"msd-{task}", number, spacing, orientation, shift_mm=150)
            name, part = f"{task}_{number}.nii.gz", "Tr" if number < subjects else "Ts"
            _save(made.image.array.astype(np.int16), affine_of(made.image.grid), folder / f"images{part}" / name)
            (folder / f"images{part}" / f"._{name}").write_bytes(b"\0\5\26\7")  # its archives were made on macOS
            if part == "Ts":
                test.append(f"./imagesTs/{name}")
                continue
            labels = (made.labels.array == organ).astype(dtype)
            if 2 in names:
                labels[tuple(np.argwhere(labels)[0])] = 2
            _save(labels, affine_of(made.image.grid), folder / "labelsTr" / name)
            training.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
        content = {
            "name": task.capitalize(),
            "tensorImageSize": "3D",
            "modality": {"0": "CT"},
            "labels": {str(value): name for value, name in names.items()},
            "numTraining": len(training),
            "numTest": len(test),
            "training": training,
            "test": test,
        }
        (folder / "dataset.json").write_text(json.dumps(content))
        return folder

    return write


def nnunet(folder: Path, subjects: int, spacing: float) -> Path:
    """A hospital's own: label 5 both kidneys, 2 and 3 the liver and its tumour; returns the YAML file."""
    data = folder / "Dataset501_Abdomen"
    for number in range(subjects):
        made = subject("own", number, spacing, "RPI", shift_mm=-80)
        labels = np.zeros(made.labels.array.shape, np.int16)
        labels[made.labels.array == 6] = 2
        labels[tuple(np.argwhere(labels)[0])] = 3
        labels[np.isin(made.labels.array, (2, 3))] = 5
        labels[made.labels.array == 8] = 9
        _save(
            made.image.array.astype(np.int16),
            affine_of(made.image.grid),
            data / "imagesTr" / f"own_{number}_0000.nii.gz",
        )
        _save(labels, affine_of(made.image.grid), data / "labelsTr" / f"own_{number}.nii.gz")
    description = folder / "cohort.yaml"
    description.write_text("folder: Dataset501_Abdomen\nlabels:\n  liver: [2, 3]\n  kidneys: 5\n")
    return description


WRITERS: dict[str, Callable[[Path, int, float], Path]] = {
    "learn2reg": learn2reg,
    "learn2reg-2020": learn2reg_2020,
    "pancreas-ct": pancreas_ct,
    "kits19": kits19,
    "msd-liver": msd("liver", 6, "RAS", np.uint8),
    "msd-pancreas": msd("pancreas", 11, "RAS", np.float32),
    "msd-spleen": msd("spleen", 1, "LAS", np.uint8),
    "nnunet": nnunet,
}


def affine_of(grid: Grid) -> NDArray[np.float64]:
    """NIfTI's affine, which speaks RAS, of a grid."""
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ grid.matrix


def _claimed(spacing: float) -> NDArray[np.float64]:
    """Learn2Reg's headers: RAS, though the arrays run from the patient's right to left."""
    return np.diag([spacing, spacing, spacing, 1.0])


def _save(array: NDArray, affine: NDArray[np.float64], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)


def _save_series(made: Phantom, folder: Path, number: int) -> None:
    """One file a slice, stored unsigned with an intercept as scanners do."""
    folder.mkdir(parents=True)
    grid, uid = made.image.grid, f"1.2.826.0.1.3680043.2.1125.{number}"
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k in range(grid.size[2]):
        itk = sitk.GetImageFromArray(np.ascontiguousarray(made.image.array[:, :, k].astype(np.int16).T[None]))
        itk.SetSpacing([*grid.spacing[:2], grid.spacing[2]])
        position = grid.voxel_to_world([0, 0, k])
        for key, value in {
            "0008|0060": "CT",
            "0020|000e": uid,
            "0020|0052": uid + ".9",
            "0008|0018": f"{uid}.{k + 100}",
            "0020|0032": "\\".join(f"{x:.6f}" for x in position),
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0020|0013": str(k),
            "0028|1052": "-1024",
            "0028|1053": "1",
        }.items():
            itk.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"1-{grid.size[2] - k:03d}.dcm"))
        writer.Execute(itk)


def main() -> None:
    """Write all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--subjects", type=int, default=4, help="of each cohort")
    parser.add_argument("--spacing", type=float, default=4.0, help="mm")
    options = parser.parse_args()
    for name, write in WRITERS.items():
        print(name, write(options.folder / name, options.subjects, options.spacing), flush=True)


if __name__ == "__main__":
    main()
