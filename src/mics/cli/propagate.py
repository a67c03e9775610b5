"""`mics propagate`: labels of several scans, carried over to a new one."""

from pathlib import Path
from typing import Annotated

import typer

from mics.choices import FusionName
from mics.cli.errors import print_message
from mics.cli.manners import in_folder, results
from mics.cli.options import ContinuedFolder, Device, Model, RefineEach
from mics.cli.progress import progress
from mics.errors import counted


def propagate(
    scan: Annotated[Path, typer.Argument(help="Scan to label: NIfTI, NRRD, MHA or a folder with one DICOM series.")],
    atlases: Annotated[
        Path,
        typer.Option(
            help="Labelled scans: a Learn2Reg or nnU-Net folder, a folder of NAME.nii.gz and NAME_labels.nii.gz, or a CSV "
            "file with the columns image and labels."
        ),
    ],
    output: ContinuedFolder,
    fusion: Annotated[
        FusionName,
        typer.Option(help="majority, local (weighted by likeness around each voxel) or joint (joint label fusion)."),
    ] = "joint",
    label_names: Annotated[
        Path | None, typer.Option(help="What the labels mean; by default what the atlases' files or data set say.")
    ] = None,
    model: Model = "mics-velocity",
    refine: RefineEach = "fast",
    device: Device = "auto",
) -> None:
    """Register labelled scans to SCAN and fuse their labels; another --fusion into the same folder takes no registration."""
    from mics.atlas.propagate import propagate as run

    with progress() as step:
        result = run(
            scan,
            atlases,
            output,
            fusion=fusion,
            label_names=label_names,
            model=model,
            refine=refine,
            device=device,
            progress=step,
        )
    lines = []
    for volume in result.volumes:
        agreement = "lost" if volume.agreement is None else f"agreement {volume.agreement:.2f}"
        lines.append(
            f"{volume.name}: {volume.fused_ml:.1f} ml ({agreement}; {counted(volume.atlases, 'atlas')}, {volume.mean_ml:.1f} "
            f"± {volume.sd_ml:.1f} ml)"
        )
    used = sum(outcome.used for outcome in result.atlases)
    lines += [
        f"Verdict: {result.verdict}, {used} of {counted(len(result.atlases), 'atlas')} used",
        f"Written to {output}",
    ]
    results("\n".join(lines), in_folder(output))
    for message in result.reasons:
        print_message(message)
