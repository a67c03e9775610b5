"""The picture of a training registration network, epoch by epoch: one validation pair, always the same."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
import matplotlib.image
import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from mics.deformation.transform import Transform
from mics.files.whole import write_whole
from mics.image.grid import Grid
from mics.image.io import Image
from mics.organs import ORGAN_NAMES
from mics.registration.result import Registration
from mics.report.figures import DPI, draw
from mics.report.planes import three_planes
from mics.report.sheets import centre_voxel, cut
from mics.training.module import NetworkTraining
from mics.training.samples import Sample

FOLDER = "overview"
# Of cached cases; where in the world they lie does not matter here.
_LAS = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)


class OverviewPerEpoch(lightning.Callback):
    """Writes ``RUN/overview/epoch_0007.png``, also to TensorBoard: the first validation pair, on the network's grid."""

    def __init__(self, run: Path) -> None:
        self.folder = run / FOLDER

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Sample,
        index: int,
        *_: Any,
    ) -> None:
        """Draw the pair if it is the first; segmentation has none."""
        if index or outputs is None or not trainer.is_global_zero:
            return
        assert isinstance(pl_module, NetworkTraining)
        moving, fixed = pl_module.case_names(batch, "val")
        pair = registered(batch, outputs, pl_module.recipe.spacing_mm)
        planes = three_planes(pair.fixed.grid, centre_voxel(pair))
        epoch = trainer.current_epoch + 1  # as the log counts
        text = f"after epoch {epoch}\nfixed: {fixed}     moving: {moving}     on the network's grid"
        self.folder.mkdir(exist_ok=True)
        path = self.folder / f"epoch_{epoch:04d}.png"
        figure = draw([(plane, cut(pair, plane)) for plane in planes], text, ORGAN_NAMES)
        write_whole(path, lambda temporary: figure.savefig(temporary, dpi=DPI))
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                picture = matplotlib.image.imread(path)
                logger.experiment.add_image(FOLDER, picture, trainer.current_epoch, dataformats="HWC")


def registered(batch: Sample, displacements: Mapping[str, Tensor], spacing_mm: float) -> Registration:
    """The first pair of a batch; member 0, A, is moving. ``displacements`` as a validation step returns them."""
    x, y, z = batch["hu"].shape[3:]
    grid = Grid((x, y, z), (spacing_mm, spacing_mm, spacing_mm), (0.0, 0.0, 0.0), _LAS)
    moving, fixed = (Image(member[0].cpu().numpy(), grid) for member in batch["hu"][0])
    moving_labels, fixed_labels = (Image(member[0].cpu().numpy(), grid) for member in batch["labels"][0])
    forward, backward = (
        Transform.from_voxels(displacements[f"displacement_{direction}"], grid) for direction in ("ab", "ba")
    )
    return Registration(
        fixed=fixed,
        moving=moving,
        fixed_labels=fixed_labels,
        moving_labels=moving_labels,
        affine=np.eye(4),
        moving_to_fixed=forward,
        fixed_to_moving=backward,
        moving_warped=forward.transform_image(moving),
        fixed_warped=backward.transform_image(fixed),
        moving_labels_warped=forward.transform_labels(moving_labels),
        fixed_labels_warped=backward.transform_labels(fixed_labels),
        summary={},
    )
