"""Write the MONAI bundle of the default models: make_bundle.py FOLDER, which is new.

Layout and metadata follow https://docs.monai.io/en/stable/mb_specification.html. The bundle runs what `mics register` runs, with
the weights that lie in it; the package must be installed.
"""

import json
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

import torch

from mics.network.weights import BUNDLED_MODELS, DEFAULT_REGISTRATION, load_model

ROOT = Path(__file__).resolve().parents[1]
SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"


def main(folder: Path) -> None:
    """Write the bundle. Raises FileExistsError where something is in the way."""
    model = load_model(DEFAULT_REGISTRATION)
    organs = load_model(model.organs_model)
    for part in ("configs", "models", "docs"):
        (folder / part).mkdir(parents=True)
    for name in (model.name, organs.name):
        for ending in (".safetensors", ".json"):
            shutil.copy(BUNDLED_MODELS / f"{name}{ending}", folder / "models")
    torch.save(model.network.state_dict(), folder / "models" / "model.pt")  # where MONAI's own tools look for weights
    shutil.copy(ROOT / "bundle" / "inference.json", folder / "configs")
    shutil.copy(ROOT / "docs" / "bundle.md", folder / "docs" / "README.md")
    shutil.copy(ROOT / "LICENSE", folder)
    shutil.copy(ROOT / "LICENSE", folder / "docs" / "license.txt")
    text = json.dumps(metadata(model.card.training_data, organs.name), indent=4)  # type: ignore[attr-defined]
    (folder / "configs" / "metadata.json").write_text(text + "\n", encoding="utf-8")


def metadata(training_data: str, organs: str) -> dict[str, object]:
    """What the bundle says of itself."""
    ours = version("mics-registration")
    scan = {
        "type": "image",
        "format": "hounsfield",
        "modality": "CT",
        "num_channels": 1,
        "spatial_shape": ["*", "*", "*"],
        "dtype": "float32",
        "value_range": [-1024, 3071],
        "is_patch_data": False,
        "channel_def": {"0": "image"},
    }
    displacement = {
        **scan,
        "format": "magnitude",
        "modality": "n/a",
        "num_channels": 3,
        "value_range": [],
        "channel_def": {"0": "x, LPS mm", "1": "y, LPS mm", "2": "z, LPS mm"},
    }
    return {
        "schema": SCHEMA,
        "version": ours,
        "changelog": {ours: "as mics-registration of this version"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").partition("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {"mics-registration": ours},
        "optional_packages_version": {},
        "name": "MICS: abdominal CT registration",
        "task": "Deformable registration of two 3D abdominal CT scans, both ways",
        "description": f"{DEFAULT_REGISTRATION} on an affine by the organs found in both, with organ maps by {organs}, "
        "refined on the pair; two displacement fields that are inverse to each other, both scans warped, and a verdict "
        "on the result.",
        "authors": "The MICS authors",
        "copyright": "Apache-2.0, see LICENSE",
        "data_source": training_data,
        "data_type": "NIfTI, NRRD, MetaImage or a DICOM folder; Hounsfield units",
        "image_classes": "two scans, fixed and moving, in Hounsfield units, any geometry",
        "label_classes": "none is needed",
        "pred_classes": "displacement in LPS mm, on the grid of the scan that it fills",
        "eval_metrics": {},
        "intended_use": "Research. Not a medical device; must not be used to decide about a patient.",
        "references": [],
        "network_data_format": {
            "inputs": {"fixed": scan, "moving": scan},
            "outputs": {"moving_to_fixed": displacement, "fixed_to_moving": displacement, "moving_warped": scan},
        },
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
