"""Names that no file can have are told in a sentence, wherever they are given."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mics

LATIN_1 = os.fsdecode(b"J\xfcrgen.nii.gz")
VOLUME = mics.Image(np.arange(60, dtype=np.float32).reshape(3, 4, 5), mics.Grid((3, 4, 5), (1, 1, 1), (0, 0, 0)))
USES = {
    "read_image": mics.read_image,
    "read_labels": mics.read_labels,
    "write_image": lambda name: mics.write_image(VOLUME, name),
    "load": mics.Transform.load,
    "save": mics.Transform(np.zeros((3, 4, 5, 3), np.float32), VOLUME.grid).save,
    "load_model": mics.load_model,
    "evaluate": lambda name: mics.evaluate(".", name),
    "fixed": lambda name: mics.register(name, VOLUME),
    "affine": lambda name: mics.register(VOLUME, VOLUME, affine=name),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize(
    ("name", "message"),
    [
        (None, "not None"),
        (5, "not 5"),
        (b"scan.nii", "not b'scan.nii'"),
        ("", "is empty"),
        ("a\0b.nii.gz", "NUL"),
        (Path("a\0b.nii.gz"), "NUL"),
        (LATIN_1, r"J\\xfcrgen.* is not UTF-8: rename it"),
    ],
)
def test_what_is_no_name(tmp_path, monkeypatch, use, name, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(mics.InputError, match=message) as caught:
        use(name)
    assert str(caught.value).endswith((".", ")."))
    assert not list(tmp_path.iterdir())


def test_a_command_refuses_such_names_before_it_loads_anything(tmp_path):
    # ITK would end the process, after the whole work
    strange = tmp_path / os.fsdecode(b"\xfc")
    strange.mkdir()
    command = [sys.executable, "-c", "from mics.cli.main import main; main()"]
    for place, arguments, environment, message in (
        (tmp_path, ["register", "a.nii", "b.nii", "-o", os.fsdecode(b"out\xfc")], {}, "The name out\\xfc is"),
        (tmp_path, ["warp", "a.nii", "t.nii.gz", "-o", os.fsdecode(b"\xfc/b.nii")], {}, "The name \\xfc/b.nii is"),
        (strange, ["register", "a.nii", "b.nii", "-o", "out"], {}, "The working folder "),
        (tmp_path, ["register", "a.nii", "b.nii", "-o", "out"], {"TMPDIR": str(strange)}, "The folder for temporary "),
    ):
        done = subprocess.run(command + arguments, cwd=place, env=os.environ | environment, capture_output=True)
        output = done.stderr.decode()
        assert done.returncode == 2
        assert output.startswith(f"Error: {message}")
        assert "is not UTF-8" in output
        assert output.count("\n") == 1
    assert [entry.name for entry in tmp_path.iterdir()] == [strange.name]
    assert not list(strange.iterdir())


def test_writing_from_a_working_folder_that_is_not_utf_8(tmp_path, monkeypatch):
    place = tmp_path / os.fsdecode(b"\xfc")
    place.mkdir()
    monkeypatch.chdir(place)
    with pytest.raises(mics.InputError, match="not UTF-8"):
        mics.write_image(VOLUME, "scan.nii.gz")
    assert not list(place.iterdir())


def test_a_working_folder_that_is_gone_is_told(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(mics.InputError, match=r"a\.nii\.gz is relative to the working folder, which is gone"):
        mics.write_image(VOLUME, "a.nii.gz")
