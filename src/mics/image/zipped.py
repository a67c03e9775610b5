"""A zip of a DICOM study, unpacked for as long as it is read."""

import lzma
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from mics.errors import InputError, InsufficientMemoryError, MissingFileError
from mics.files.folder import temporary_folder
from mics.image.checks import refuse_larger_than_memory
from mics.image.content import gunzipped, looks_like_dicom

_HEAD_BYTES = 1024
_MAX_FILES = 100_000
_MAX_PART = 255


def is_zip(path: Path) -> bool:
    """Whether a file is called a zip."""
    return path.suffix.lower() == ".zip" and path.is_file()


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """A folder of what ``path`` holds: itself, if it is no zip, else a temporary one of the zip's DICOM files.

    The temporary folder is gone afterwards. Other files than DICOM's are never unpacked, and links and permissions in the zip
    count for nothing.

    Raises InputError for a zip that is damaged, encrypted, or compressed in a way that is not read, for a name in it that leads
    out of it, and for more DICOM files, or larger ones, than can be a study in memory. Sentences name the zip, not the folder.
    """
    if not is_zip(path):
        yield path
        return
    with temporary_folder("mics-study-") as folder:
        _unpack(path, folder)
        try:
            yield folder
        except InputError as error:
            raise type(error)(str(error).replace(str(folder), str(path))) from error


def _unpack(path: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            if len(entries) > _MAX_FILES:
                raise InputError(f"{path} holds {len(entries)} files, more than a study has: zip one study alone.")
            names = [_safe_name(path, entry) for entry in entries]
            sound = [looks_like_dicom(gunzipped(_head(archive, entry))) for entry in entries]
            endings = {name.suffix for name, is_one in zip(names, sound, strict=True) if is_one}
            # What has the slices' ending and is no DICOM may be a slice that broke, which is refused where it is read.
            dicom = [
                (entry, name)
                for entry, name, is_one in zip(entries, names, sound, strict=True)
                if is_one or (name.suffix in endings - {""} and not name.name.startswith("."))
            ]
            _refuse_too_much(path, folder, sum(entry.file_size for entry, _ in dicom))
            for entry, name in dicom:
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                # zipfile stops at the size that the list of contents states, and checks the sum.
                with archive.open(entry) as packed, target.open("xb") as file:
                    shutil.copyfileobj(packed, file)
    except FileExistsError as error:
        raise InputError(f"{path} holds {Path(error.filename).name} twice: zip the study again.") from error
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is damaged ({error}): zip the study again, or copy it again.") from error
    except RuntimeError as error:  # zipfile's, of a password or of a compression that it does not know
        locked = "password" in str(error)
        reason = "is protected by a password" if locked else f"is compressed in a way that is not read ({error})"
        raise InputError(f"{path} {reason}: unpack it and give the folder.") from error
    except OSError as error:
        raise MissingFileError(f"{path} cannot be unpacked ({error.strerror or error}).") from error


def _safe_name(path: Path, entry: zipfile.ZipInfo) -> PurePosixPath:
    """The entry's place within the zip."""
    parts = PurePosixPath(entry.filename.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or not parts.parts or ":" in parts.parts[0]:
        raise InputError(f"{path} holds a file that would lie outside of it ({entry.filename!r}): do not trust it.")
    if any(len(os.fsencode(part)) > _MAX_PART for part in parts.parts):
        raise InputError(
            f"{path} holds a file whose name is too long ({entry.filename[:50]!r}...): zip the study again."
        )
    return parts


def _head(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    with archive.open(entry) as file:
        return file.read(_HEAD_BYTES)


def _refuse_too_much(path: Path, folder: Path, size: int) -> None:
    """Raise InputError where the files are more than memory, or the disk of temporary files, holds."""
    refuse_larger_than_memory(path, size)
    left = shutil.disk_usage(folder).free
    if size > left:
        raise InsufficientMemoryError(
            f"{path} unpacks to {size / 1e9:.1f} GB, and {left / 1e9:.1f} GB are left for temporary files in {folder.parent}: "
            "unpack what you need yourself, or set TMPDIR to another disk."
        )
