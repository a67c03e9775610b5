"""Nothing of a patient reaches what the commands write: words are planted in every free field, and all outputs searched."""

import base64
import binascii
import contextlib
import gzip
import io
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import Dataset
from pydicom.datadict import DicomDictionary
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

SHAPE, SPACING = (24, 22, 20), 10.0
# What `mics dicom` is asked for: the patient and the study of the fixed series, and references to it.
KEPT = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "IssuerOfPatientID", "StudyInstanceUID", "StudyID"),
    *("StudyDate", "StudyTime", "StudyDescription", "ReferringPhysicianName", "AccessionNumber", "PatientAge"),
    *("DeidentificationMethod", "PatientIdentityRemoved", "TimezoneOffsetFromUTC", "PositionReferenceIndicator"),
    *("SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"),
)
# Needed for the voxels, or of fixed meaning.
_OWN = ("SOPClassUID", "TransferSyntaxUID", "SpecificCharacterSet", "PixelData")


_RANDOM = np.random.default_rng(0).bytes(99)
# All that is planted.
_WORD = re.compile(rb"(?=(PLNT[A-Z0-9_]+?Q|2\.25\.77\d{5}3133799|18\d{6}))")


def words_of(data: bytes, words: dict[str, str]) -> set[str]:
    """Which of the words, by what they are called, stand in the bytes or in what these hold packed."""
    seen: set[bytes] = set()
    for layer in layers(data):
        for text in (layer, layer.replace(b"\0", b"")):  # also as UTF-16
            seen.update(match[1] for match in _WORD.finditer(text))
    return {name for name, word in words.items() if word.encode() in seen}


def layers(data: bytes, depth: int = 0) -> Iterator[bytes]:
    """The bytes, and unpacked what lies in them: gzip and zlib at any place, zip, PNG, HDF5, base64."""
    yield data
    if depth > 3:
        return
    inner: list[bytes] = []
    for start in re.finditer(rb"\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]", data):
        unpacker = zlib.decompressobj(47)  # either header
        with contextlib.suppress(zlib.error):
            inner.append(unpacker.decompress(data[start.start() :], 1 << 26))
        if inner and len(data) > 1 << 16 and depth == 0 and start.start() == 0:
            break  # a file that is gzip as a whole
    if data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            inner += [archive.read(name) for name in archive.namelist()]
    if data[:8] == b"\x89HDF\r\n\x1a\n":
        inner += _of_hdf5(data)
    for text in re.findall(rb"[A-Za-z0-9+/]{64,}={0,2}", data):
        with contextlib.suppress(binascii.Error):
            inner.append(base64.b64decode(text[: len(text) // 4 * 4], validate=True))
    for one in inner:
        yield from layers(one, depth + 1)


def _of_hdf5(data: bytes) -> list[bytes]:
    found: list[bytes] = []

    def look(name, item):
        found.append(f"{name} {dict(item.attrs)}".encode())
        if isinstance(item, h5py.Dataset):
            value = item[()]
            found.append(value.tobytes() if isinstance(value, np.ndarray) else str(value).encode())

    with h5py.File(io.BytesIO(data)) as file:
        file.visititems(look)
    return found


def found_in(folder: Path, words: dict[str, str]) -> dict[str, set[str]]:
    """The words that each file under a folder holds, in its name or within."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    every = {
        path.relative_to(folder).as_posix(): words_of(path.read_bytes(), words)
        | {name for name, word in words.items() if word in path.name}
        for path in files
    }
    return {name: found for name, found in every.items() if found}


def hu() -> np.ndarray:
    axes = np.meshgrid(*[np.linspace(-1.4, 1.4, n) for n in SHAPE], indexing="ij")
    inside = sum(axis**2 for axis in axes) < 1
    return np.where(inside, 60 + 40 * axes[0] - 180 * (axes[2] > 0.3), -1000).astype(np.int16)


def dicom(folder: Path) -> dict[str, str]:
    """A series with a word of its own in every element that can hold text, a date or a UID; words by their keywords."""
    words, plain = {}, Dataset()
    kinds = {"LO", "SH", "PN", "ST", "LT", "UT", "UC", "AE", "UR", "UI", "DA"}
    for number, (tag, (kind, _, _, retired, keyword)) in enumerate(sorted(DicomDictionary.items())):
        group = tag >> 16
        if kind not in kinds or retired or not keyword or keyword in _OWN or group in (0x0000, 0x0002, 0x0004, 0x0028):
            continue
        if kind == "UI" and group not in (0x0008, 0x0020, 0x0040):
            continue
        word = f"PLNT{number:05}Q" if kind not in ("UI", "DA") else f"2.25.77{number:05}3133799"
        if kind == "DA":
            word = f"{1801 + number // 336 % 90}{number // 28 % 12 + 1:02}{number % 28 + 1:02}"
        setattr(plain, keyword, word)
        words[keyword] = word
    request, deeper = Dataset(), Dataset()
    request.ScheduledProcedureStepDescription = words["nested"] = "PLNTNESTEDQ"
    deeper.PersonName = words["nested deeper"] = "PLNTDEEPERQ"
    request.PersonIdentificationCodeSequence = [deeper]
    plain.RequestAttributesSequence = [request]
    block = plain.private_block(0x0099, "PLNTVENDORQ", create=True)
    words["private creator"] = "PLNTVENDORQ"
    for number, kind in enumerate(("LO", "UT", "UN"), 1):
        words[f"private {kind}"] = f"PLNTPRIVATE{number}Q"
        block.add_new(number, kind, b"PLNTPRIVATE3Q " if kind == "UN" else words[f"private {kind}"])
    inner = Dataset()
    inner.PatientName = words["in a private sequence"] = "PLNTINNERQ"
    block.add_new(9, "SQ", [inner])
    folder.mkdir(parents=True)
    for k in range(SHAPE[2]):
        made = Dataset()
        made.update(plain)
        for keyword, value in {
            "SOPClassUID": CTImageStorage,
            "SOPInstanceUID": f"{words['SOPInstanceUID']}.{k}",
            "Modality": "CT",
            "PatientSex": "F",
            "InstanceNumber": k,
            "ImagePositionPatient": [-115, -105, -95 + SPACING * k],
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "PixelSpacing": [SPACING, SPACING],
            "SliceThickness": SPACING,
            "RescaleIntercept": -1024,
            "RescaleSlope": 1,
            "Rows": SHAPE[1],
            "Columns": SHAPE[0],
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "BitsAllocated": 16,
            "BitsStored": 16,
            "HighBit": 15,
            "PixelRepresentation": 0,
        }.items():
            setattr(made, keyword, value)
        made.add_new("PixelData", "OW", (hu()[:, :, k].T + 1024).astype("<u2").tobytes())
        made.file_meta = FileMetaDataset()
        made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        made.file_meta.MediaStorageSOPClassUID = CTImageStorage
        made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
        made.save_as(folder / f"{k:03}", enforce_file_format=True)
    return words


def nifti(path: Path, array: np.ndarray) -> dict[str, str]:
    """A file with words in its free fields and in two extensions."""
    image = nibabel.Nifti1Image(array, np.diag([-SPACING, -SPACING, SPACING, 1]) + _corner())
    words = {field: f"PLNT{field[:6].upper()}Q" for field in ("descrip", "aux_file", "intent_name", "db_name")}
    for field, word in words.items():
        image.header[field] = word.encode()
    for code in (6, 40):
        words[f"extension {code}"] = f"PLNTEXT{code}Q"
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension(code, f"PLNTEXT{code}Q".encode()))
    nibabel.save(image, path)
    return words


def _corner() -> np.ndarray:
    corner = np.zeros((4, 4))
    corner[:3, 3] = 115, 105, -95
    return corner


def nrrd(path: Path, array: np.ndarray) -> dict[str, str]:
    sizes = " ".join(map(str, SHAPE))
    header = (
        f"NRRD0004\n# PLNTCOMMENTQ\ntype: int16\ndimension: 3\nspace: left-posterior-superior\nsizes: {sizes}\n"
        "space directions: (10,0,0) (0,10,0) (0,0,10)\nkinds: domain domain domain\nendian: little\nencoding: raw\n"
        "space origin: (-115,-105,-95)\ncontent: PLNTCONTENTQ\nPatientName:=PLNTKEYQ\nDICOM_0010_0010:=PLNTTAGQ\n\n"
    )
    path.write_bytes(header.encode() + array.astype("<i2").tobytes(order="F"))
    return {word: word for word in ("PLNTCOMMENTQ", "PLNTCONTENTQ", "PLNTKEYQ", "PLNTTAGQ")}


def metaimage(path: Path, array: np.ndarray) -> dict[str, str]:
    header = (
        "ObjectType = Image\nNDims = 3\nComment = PLNTREMARKQ\nName = PLNTNAMEQ\nPatientName = PLNTOWNQ\nBinaryData = True\n"
        "BinaryDataByteOrderMSB = False\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = -115 -105 -95\n"
        f"ElementSpacing = 10 10 10\nDimSize = {' '.join(map(str, SHAPE))}\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    path.write_bytes(header.encode() + array.astype("<i2").tobytes(order="F"))
    return {word: word for word in ("PLNTREMARKQ", "PLNTNAMEQ", "PLNTOWNQ")}


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """Scans of four formats in a folder that is called by the patient, and all words in them by where they stand."""
    folder = tmp_path_factory.mktemp("clinic") / "PLNTFOLDERQ"
    words = {**dicom(folder / "CT"), "folder": "PLNTFOLDERQ"}
    moved = np.roll(hu(), 1, 0)
    words |= nifti(folder / "scan.nii.gz", moved)
    words |= nrrd(folder / "scan.nrrd", hu())
    words |= metaimage(folder / "scan.mha", moved)
    labels = (hu() > 0).astype(np.int16)
    words |= {f"labels: {name}": word for name, word in nifti(folder / "labels.nii.gz", labels).items()}
    return folder, words


@pytest.fixture(scope="module")
def results(planted, quick, tmp_path_factory) -> Path:
    """What `mics register` writes of them, each format once."""
    from typer.testing import CliRunner

    from mics.cli.main import app

    folder, _ = planted
    output = tmp_path_factory.mktemp("results")
    labels = ["--fixed-labels", folder / "labels.nii.gz", "--moving-labels", folder / "labels.nii.gz"]
    for name, pair in {"a": ("CT", "scan.nii.gz"), "b": ("scan.nrrd", "scan.mha")}.items():
        command = ["register", *(folder / one for one in pair), "-o", output / name, *labels, *quick]
        result = CliRunner().invoke(app, [str(argument) for argument in command])
        assert result.exit_code == 0, (result.output, result.exception)
    return output


def test_the_words_are_in_the_scans_and_are_found_there(planted):
    folder, words = planted
    assert len(words) > 500
    assert set.union(*found_in(folder, words).values()) | {"folder"} == set(words)


@pytest.mark.parametrize("kind", ["gzip within base64", "png", "zip", "zlib within a header", "utf-16"])
def test_packed_words_are_found(kind):
    word = b"PLNTPACKEDQ"
    packed = {
        "gzip within base64": b"<script>" + base64.b64encode(gzip.compress(word + _RANDOM)) + b"</script>",
        "png": b"\x89PNG\r\n\x1a\n\0\0\0\x20zTXtpatient\0\0" + zlib.compress(word),
        "zip": _zipped(word),
        "zlib within a header": b"ElementDataFile = LOCAL\n" + zlib.compress(word),
        "utf-16": word.decode().encode("utf-16-le"),
    }[kind]
    assert words_of(packed, {"it": "PLNTPACKEDQ"}) == {"it"}
    assert not words_of(packed, {"it": "PLNTOTHERQ"})


def _zipped(word: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("notes.txt", word)
    return file.getvalue()


def test_a_registration_holds_nothing_of_a_patient(planted, results):
    _, words = planted
    kinds = {path.suffix for path in results.rglob("*") if path.is_file()}
    assert kinds == {".gz", ".json", ".png", ".html"}
    assert found_in(results, words) == {}


@pytest.mark.parametrize(
    ("source", "direction"),
    [
        ("CT", "fixed_to_moving"),
        ("scan.nii.gz", "moving_to_fixed"),
        ("scan.nrrd", "fixed_to_moving"),
        ("scan.mha", "moving_to_fixed"),
    ],
)
def test_warped_scans_hold_nothing_of_a_patient(source, direction, planted, results, run, tmp_path):
    folder, words = planted
    transform = results / "a" / f"transform_{direction}.nii.gz"
    for ending in ("nii", "nrrd", "mha"):
        result = run("warp", folder / source, transform, "-o", tmp_path / f"x.{ending}")
        assert result.exit_code == 0, (result.output, result.exception)
    assert found_in(tmp_path, words) == {}
    assert {len(sitk.ReadImage(str(tmp_path / f"x.{ending}")).GetSize()) for ending in ("nii", "nrrd", "mha")} == {3}


def test_converted_transforms_hold_nothing_of_a_patient(planted, results, run, tmp_path):
    _, words = planted
    transform = results / "a" / "transform_moving_to_fixed.nii.gz"
    for ending in ("nii.gz", "nrrd", "mha", "h5", "tfm", "txt", "x5"):
        (tmp_path / ending).mkdir()
        result = run("convert", transform, "-o", tmp_path / ending / f"t.{ending}")
        assert result.exit_code == 0, (result.output, result.exception)
    result = run("convert", transform, "--jacobian", tmp_path / "j.nrrd", "--norm", tmp_path / "n.mha")
    assert result.exit_code == 0, result.output
    assert found_in(tmp_path, words) == {}


def test_an_evaluation_holds_nothing_of_a_patient(planted, results, run, tmp_path):
    folder, words = planted
    lines = [
        "fixed,moving,fixed_image,fixed_labels,moving_image,moving_labels",
        f"a,b,{folder / 'CT'},{folder / 'labels.nii.gz'},{folder / 'scan.nii.gz'},{folder / 'labels.nii.gz'}",
    ]
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    submission = tmp_path / "PLNTFOLDERQ" / "mine"
    shutil.copytree(results / "a", submission / "a_b")
    result = run(
        "evaluate", submission, tmp_path / "pairs.csv", "-o", tmp_path / "scores", "--export", tmp_path / "e.zip"
    )
    assert result.exit_code == 0, (result.output, result.exception)
    assert found_in(tmp_path / "scores", words) == {}
    assert not words_of((tmp_path / "e.zip").read_bytes(), words)


def test_dicom_objects_hold_the_patient_who_is_asked_for_and_nothing_else(planted, results, run, tmp_path):
    folder, words = planted
    result = run("dicom", results / "a", folder / "CT", "-o", tmp_path / "study")
    assert result.exit_code == 0, (result.output, result.exception)
    found = found_in(tmp_path / "study", words)
    assert {"PatientName", "PatientID", "PatientBirthDate", "StudyInstanceUID"} <= set.union(*found.values())
    assert set.union(*found.values()) <= set(KEPT)
