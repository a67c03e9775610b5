"""Figure 4: for three moving volumes, the moving CT, the deformed CT and mask, the deformation grid and the Jacobian."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, TwoSlopeNorm

from mics.data.pairs import PairSource
from mics.experiments.plan import Measurement, PaperNetwork
from mics.experiments.study import Study
from mics.experiments.table4 import OURS
from mics.experiments.write import new_figure, save_figure
from mics.organs import ORGAN_NAMES
from mics.registration.register import register
from mics.report.figures import ABDOMEN, draw_grid_lines, show_slice
from mics.report.planes import three_planes
from mics.report.sheets import centre_voxel, cut

# As in the paper: red negative (folded), white zero, blue positive.
JACOBIAN = TwoSlopeNorm(0, vmin=-1, vmax=3)
TITLES = ("moving", "deformed volume", "deformed mask", "deformation grid", "Jacobian")
PAIRS = 3
_MASKS = ListedColormap(["black", *(f"C{n % 10}" for n in ORGAN_NAMES)])


def cells(*, sweep_ends: bool) -> list[PaperNetwork | Measurement]:
    """The network of Table 4."""
    return [OURS]


def write(study: Study) -> str:
    """Draw ``figure4.png``, coronal: up to three moving volumes onto one fixed volume."""
    listed = study.pairs()
    chosen = [pair for pair in listed if pair.fixed.name == listed[0].fixed.name][:PAIRS]
    figure = new_figure(3 * len(TITLES), 3.4 * len(chosen))
    rows = figure.subplots(len(chosen), len(TITLES), squeeze=False)
    for axes, pair in zip(rows, chosen, strict=True):
        _draw(list(axes), pair, study)
    for axes, title in zip(rows[0], TITLES, strict=True):
        axes.set_title(title)
    save_figure(figure, study.folder / "figure4.png")
    names = ", ".join(pair.moving.name for pair in chosen)
    return (
        f"figure4.png: onto {chosen[0].fixed.name}, from {names}. Jacobian: blue positive, white zero, red negative (folded). "
        "It shows patients: do not publish it without the right to.\n"
    )


def _draw(axes: list[Axes], pair: PairSource, study: Study) -> None:
    result = register(
        pair.fixed.image(),
        pair.moving.image(),
        fixed_labels=pair.fixed.labels(),
        moving_labels=pair.moving.labels(),
        affine="none",
        model=study.model(OURS),
        refine="none",
    )
    _, coronal, _ = three_planes(result.fixed.grid, centre_voxel(result))
    sheets = cut(result, coronal)
    moving, deformed, mask, grid, jacobian = axes
    show_slice(moving, sheets.affine, coronal, "gray", ABDOMEN)
    show_slice(deformed, sheets.warped, coronal, "gray", ABDOMEN)
    labels = np.zeros_like(sheets.fixed) if sheets.warped_labels is None else sheets.warped_labels
    mask.imshow(labels, cmap=_MASKS, vmin=0, vmax=len(ORGAN_NAMES), interpolation="nearest", extent=coronal.extent)
    mask.set_axis_off()
    show_slice(grid, np.full_like(sheets.fixed, -1000), coronal, "gray", ABDOMEN)
    for component in range(2):
        draw_grid_lines(grid, sheets.position_mm[..., component], coronal)
    show_slice(jacobian, sheets.jacobian, coronal, "bwr_r", JACOBIAN)
    moving.set_ylabel(pair.moving.name)
