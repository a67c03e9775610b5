"""Files of strangers: none of them runs code, unfolds to more than memory holds, or names a place elsewhere (SECURITY.md)."""

import hashlib
import json
import os
import pickle
import shutil
import struct
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from mics.data.cohorts.nnunet import open_nnunet
from mics.data.label_names import read_label_names
from mics.errors import InputError
from mics.evaluation.submission import Submission
from mics.network.weights import BUNDLED_MODELS, load_model
from mics.pipeline.plan import load_plan
from mics.training.cache import read_cases
from mics.training.recipe import load_recipe


class Order:
    """Unpickled, it makes a folder: what code of a stranger could do as well."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


@pytest.fixture
def trace(tmp_path):
    """A place where nothing is, and must not be after the test."""
    place = tmp_path / "was-run"
    yield place
    assert not place.exists(), "code in a file was run"


def test_the_order_would_be_carried_out(tmp_path):
    pickle.loads(pickle.dumps(Order(tmp_path / "was-run")))
    assert (tmp_path / "was-run").is_dir()


@pytest.mark.parametrize("form", ["zip", "legacy"])
@pytest.mark.parametrize("place", ["alone", "callbacks"])
def test_a_checkpoint_of_a_training(tmp_path, trace, form, place):
    checkpoints = pytest.importorskip("mics.training.checkpoints", reason="training needs the train extra")
    sound = {key: {} for key in checkpoints._EXPECTED}
    path = tmp_path / "last.ckpt"
    content = Order(trace) if place == "alone" else {**sound, place: {"x": Order(trace)}}
    torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(InputError, match="damaged or no checkpoint"):
        checkpoints.WholeCheckpoints().load_checkpoint(path, weights_only=False)


@pytest.mark.nightly
def test_the_folder_of_a_training_from_elsewhere(tmp_path, trace):
    start = pytest.importorskip("mics.training.start", reason="training needs the train extra")
    settings = ["spacing_mm=16", "iterations_per_epoch=1", "epochs=2", "stop_after_epochs=1", "workers=0"]
    run = tmp_path / "run"
    start.start("phantom-small", "phantom:5", run, overrides=settings)
    for name in ("last", "best"):
        (shutil.copy(run / f"{name}.ckpt", tmp_path), torch.save(Order(trace), run / f"{name}.ckpt"))
    record = json.loads((run / "run.json").read_text())
    del record["recipe"]["stop_after_epochs"]
    (run / "run.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"last\.ckpt is damaged or no checkpoint"):
        start.resume(run)


def test_weights_that_are_a_pickle_with_a_card_that_names_their_checksum(tmp_path, trace):
    path = tmp_path / "model.safetensors"
    torch.save(Order(trace), path)
    card = json.loads((BUNDLED_MODELS / "mics-small.json").read_text())
    card["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".json").write_text(json.dumps(card))
    with pytest.raises(InputError, match="not a model"):
        load_model(path)


@pytest.mark.parametrize("file", ["subject.hu.npy", "subject.labels.npy"])
def test_a_prepared_case_that_holds_objects(tmp_path, trace, file):
    shape = (4, 4, 4)
    np.save(tmp_path / "subject.hu.npy", np.zeros(shape, np.int16))
    np.save(tmp_path / "subject.labels.npy", np.zeros(shape, np.uint8))
    np.save(tmp_path / file, np.array([Order(trace)], dtype=object), allow_pickle=True)
    case = {"split": "train", "organs": [6], "shape": list(shape), "spacing_mm": 8.0, "maps": False}
    (tmp_path / "subject.json").write_text(json.dumps(case))
    with pytest.raises(InputError, match=r"is missing or damaged .*(allow_pickle|Python objects)"):
        read_cases(tmp_path)


def test_yaml_that_makes_objects(tmp_path, trace):
    path = tmp_path / "x.yaml"
    for tag in ("!!python/object/apply:os.mkdir", "!!python/object/new:os.mkdir"):
        path.write_text(f"labels: {tag} ['{trace}']\n")
        for read in (load_recipe, load_plan, open_nnunet):
            with pytest.raises(InputError, match="not valid YAML"):
                read(path)
        with pytest.raises(InputError, match="not YAML"):
            load_recipe("velocity", [f"losses={tag} ['{trace}']"])


UNFOLDING = "[&a [x, x, x, x, x, x, x, x, x, x], " + ", ".join(
    f"&{name} [{', '.join([f'*{before}'] * 10)}]" for before, name in zip("abcdefghi", "bcdefghij", strict=True)
)


@pytest.mark.parametrize("value", [UNFOLDING + "]", "&a [*a]", "&a {b: *a}"], ids=["billions", "itself", "mapping"])
def test_yaml_whose_references_unfold_without_end(tmp_path, value):
    path = tmp_path / "x.yaml"
    path.write_text(f"folder: x\nlabels: {{liver: {value}}}\n")
    for read in (load_recipe, load_plan, open_nnunet):
        with pytest.raises(InputError, match="unfold"):
            read(path)
    with pytest.raises(InputError, match="not YAML"):
        load_recipe("velocity", [f"losses={value}"])


def test_yaml_with_a_reference_is_read(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("folder: .\nlabels: {liver: &of [1, 2], spleen: *of}\n")
    with pytest.raises(InputError, match="label 1 is both spleen and another organ"):
        open_nnunet(path)


def label_map(path, code, content):
    """A label map with an extension in its header."""
    image = nibabel.Nifti1Image(np.zeros((4, 4, 4), np.uint8), np.eye(4))
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension(code, content))
    nibabel.save(image, path)
    return path


def test_an_extension_of_nifti_that_is_a_pickle(tmp_path, trace):
    path = label_map(tmp_path / "labels.nii.gz", 16, pickle.dumps(Order(trace)))
    with pytest.raises(InputError, match="names"):
        read_label_names(path)


def test_an_extension_of_nifti_whose_xml_unfolds_to_billions(tmp_path):
    entities = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    bomb = f'<!DOCTYPE x [<!ENTITY l0 "lol">{entities}]><x><LabelTable><Label Key="1">&l9;</Label></LabelTable></x>'
    path = label_map(tmp_path / "labels.nii.gz", 0, bomb.encode())
    with pytest.raises(InputError, match="damaged"):
        read_label_names(path)


def test_an_extension_of_nifti_whose_xml_asks_for_a_file(tmp_path):
    (tmp_path / "secret").write_text("secret")
    asks = f'<!DOCTYPE x [<!ENTITY s SYSTEM "file://{tmp_path}/secret">]>'
    table = '<x><LabelTable><Label Key="1">&s;</Label></LabelTable></x>'
    path = label_map(tmp_path / "labels.nii.gz", 0, (asks + table).encode())
    with pytest.raises(InputError, match="damaged"):
        read_label_names(path)


def test_a_zip_whose_names_lead_elsewhere_is_not_unpacked_there(tmp_path):
    packed = tmp_path / "in" / "submission.zip"
    packed.parent.mkdir()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("../../disp_0001_0002.nii.gz", b"x")
        archive.writestr("/tmp/disp_0003_0004.nii.gz", b"x")
    before = sorted(tmp_path.rglob("*"))
    submission = Submission(packed)
    for name in set(submission._files.values()):
        with submission._on_disk(name, 10) as path:
            assert path.parent.name.startswith("mics-submission-")
            assert path.name.startswith("disp_000")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_safetensors_header_that_promises_more_than_there_is(tmp_path):
    path = tmp_path / "model.safetensors"
    header = json.dumps({"w": {"dtype": "F16", "shape": [10**9, 10**6], "data_offsets": [0, 2 * 10**15]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    card = json.loads((BUNDLED_MODELS / "mics-small.json").read_text())
    card["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".json").write_text(json.dumps(card))
    with pytest.raises(InputError, match="not a model"):
        load_model(path)
