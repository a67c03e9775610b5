"""Checkpoints are written beside their name and read without running what they hold."""

import os
import tempfile
from pathlib import Path

import pytest
import torch

from mics.errors import InputError

pytest.importorskip("lightning", reason="training needs the train extra")

from mics.training.checkpoints import WholeCheckpoints, read_checkpoint

CONTENT = {name: {} for name in ("state_dict", "hyper_parameters", "callbacks", "loops", "optimizer_states")}


class Harmful:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


def test_a_checkpoint_does_not_pass_through_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    path = tmp_path / "run" / "last.ckpt"
    path.parent.mkdir()
    WholeCheckpoints().save_checkpoint({**CONTENT, "epoch": 3}, path)
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]
    assert WholeCheckpoints().load_checkpoint(path, weights_only=False)["epoch"] == 3


def test_what_a_checkpoint_would_run_is_refused(tmp_path: Path) -> None:
    torch.save({**CONTENT, "epoch": Harmful(tmp_path / "made")}, tmp_path / "last.ckpt")
    for read in (read_checkpoint, WholeCheckpoints().load_checkpoint):
        with pytest.raises(InputError, match=r"last\.ckpt is damaged"):
            read(tmp_path / "last.ckpt")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.99])
def test_a_checkpoint_that_was_cut_is_told(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "last.ckpt"
    torch.save({**CONTENT, "epoch": 3, "weights": torch.zeros(1000)}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole)) if kept < 1 else int(kept)])
    with pytest.raises(InputError, match=r"last\.ckpt is damaged"):
        read_checkpoint(path)


@pytest.mark.parametrize("content", [torch.zeros(3), [1, 2], {"epoch": 3}])
def test_another_file_of_torch_is_no_checkpoint(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "last.ckpt")
    with pytest.raises(InputError, match="no checkpoint of a training"):
        read_checkpoint(tmp_path / "last.ckpt")


def test_a_missing_checkpoint_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_checkpoint(tmp_path / "best.ckpt")
