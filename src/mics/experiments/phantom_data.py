"""A few generated subjects in the Learn2Reg layout, so that an experiment can be tried without real scans."""

import json
from pathlib import Path

from mics.data.cohorts.learn2reg import DATASET_FILE
from mics.data.phantom import network_scanner, phantom
from mics.files.whole import write_text
from mics.image.io import write_image

SUBJECTS, VALIDATION = 4, 2


def write_phantoms(folder: Path, spacing_mm: float = 16.0) -> Path:
    """Write four subjects, two of them for validation, unless the folder has them already; returns the folder."""
    if (folder / DATASET_FILE).is_file():
        return folder
    listed = []
    for seed in range(SUBJECTS):
        subject, name = (
            phantom(seed, network_scanner(seed, spacing_mm=spacing_mm)),
            f"AbdomenCTCT_{seed + 1:04d}_0000.nii.gz",
        )
        for kind, volume in (("images", subject.image), ("labels", subject.labels)):
            (folder / f"{kind}Tr").mkdir(parents=True, exist_ok=True)
            write_image(volume, folder / f"{kind}Tr" / name)
        listed.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    fixed, moving = (case["image"] for case in listed[:VALIDATION])
    content = {"name": "AbdomenCTCT", "training": listed, "registration_val": [{"fixed": fixed, "moving": moving}]}
    write_text(json.dumps(content, indent=1) + "\n", folder / DATASET_FILE)
    return folder
