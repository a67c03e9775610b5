"""Everything that reads a file of a user: its name, what reads it, and a sound one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from mics.data.cohorts.nnunet import open_nnunet
from mics.data.label_names import read_label_names
from mics.data.manifest import read_manifest
from mics.data.pairs import read_pairs
from mics.deformation.provenance import Provenance
from mics.errors import InputError
from mics.image.grid import Grid
from mics.image.io import Image, read_image, write_image
from mics.image.points import Points, read_points, write_points
from mics.network.card import ModelCard
from mics.network.weights import BUNDLED_MODELS
from mics.pipeline.plan import load_plan
from mics.registration.affine_file import read_affine
from mics.run_summary import read_summary
from mics.training.recipe import load_recipe

RECIPES = BUNDLED_MODELS.parents[1] / "training" / "recipes"


def volume(path: Path) -> None:
    """A small sound one."""
    grid = Grid((4, 3, 2), (1.0, 2.0, 3.0), (-5.0, 4.0, 9.0))
    write_image(Image(np.arange(24, dtype=np.float32).reshape(4, 3, 2), grid), path)


def landmarks(path: Path) -> None:
    """Two."""
    write_points(Points(np.array([[1.0, 2, 3], [4, 5, 6]]), ("a", "b")), path)


def text(content: str) -> Callable[[Path], object]:
    """That text."""
    return lambda path: path.write_text(content, encoding="utf-8")


def card(path: Path) -> None:
    """As `load_model` reads one."""
    try:
        ModelCard.model_validate_json(path.read_bytes(), strict=True)
    except ValueError as error:  # pydantic's, which load_model turns into a sentence
        raise InputError(str(error)) from error


AFFINE = "#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_3_3\n"
AFFINE += "Parameters: 1 0 0 0 1 0 0 0 1 1 2 3\nFixedParameters: 0 0 0\n"
PLAN = "cohorts: {learn2reg: x}\nsegmentation: {model: organs-small}\npretrain: {recipe: pretrain}\n"
PLAN += "finetune: {recipe: finetune}\nfinetune_cohort: learn2reg\n"
SNAP = '    1  255 0 0  1 1 1  "liver"\n'

PARSERS: dict[str, tuple[str, Callable[[Path], object], Callable[[Path], object]]] = {
    "nifti": ("scan.nii", read_image, volume),
    "nifti-gz": ("scan.nii.gz", read_image, volume),
    "nrrd": ("scan.nrrd", read_image, volume),
    "metaimage": ("scan.mha", read_image, volume),
    "affine": ("affine.tfm", read_affine, text(AFFINE)),
    "landmarks-csv": ("points.csv", read_points, landmarks),
    "landmarks-markups": ("points.mrk.json", read_points, landmarks),
    "landmarks-fcsv": ("points.fcsv", read_points, text("# CoordinateSystem = LPS\n# columns = id,x,y,z\na,1,2,3\n")),
    "pairs": ("pairs.csv", read_pairs, text("fixed,moving,fixed_labels,moving_labels\na,b,a.nii,b.nii\n")),
    "manifest": ("manifest.csv", lambda path: read_manifest(path.parent), text("case,status\na,done\n")),
    "label-names-json": ("names.json", read_label_names, text('{"labels": {"liver": 1}}')),
    "label-names-snap": ("names.txt", read_label_names, text(SNAP)),
    "recipe": ("recipe.yaml", load_recipe, text((RECIPES / "velocity.yaml").read_text(encoding="utf-8"))),
    "plan": ("plan.yaml", load_plan, text(PLAN)),
    "nnunet": ("ours.yaml", open_nnunet, text("folder: x\nlabels: {liver: [1, 2], spleen: 3}\n")),
    "card": ("model.json", card, text((BUNDLED_MODELS / "mics-small.json").read_text(encoding="utf-8"))),
    "provenance": ("t.nii.gz.json", lambda path: Provenance.load(path.with_suffix("")), text('{"format": 1}')),
    "summary": ("summary.json", read_summary, text('{"schema_version": 1, "mics_version": "1", "warnings": []}')),
}
