import numpy as np
import pytest
from matplotlib.image import imread

from mics.report import figures
from mics.report.planes import three_planes
from mics.report.sheets import cut


@pytest.fixture
def figure(registration):
    planes = three_planes(registration.fixed.grid, np.array([20, 17, 9]))
    figure = figures.draw([(plane, cut(registration, plane)) for plane in planes], "a caption", {1: "liver"})
    figure.canvas.draw()
    return figure


def panels(figure):
    return [axes for axes in figure.axes if axes.images]


def test_pixels_are_to_scale_in_every_panel(figure):
    """41 x 33 x 21 voxels of 2 x 2 x 3 mm: the panels show 82 x 66 x 63 mm."""
    sizes = []
    for axes in panels(figure):
        box = axes.get_window_extent()
        sizes.append((box.width, box.height))
    assert len(sizes) == 21
    per_mm = sizes[0][0] / 82
    for size, (width, height) in zip(sizes, [(82, 66)] * 7 + [(82, 63)] * 7 + [(66, 63)] * 7, strict=True):
        assert size == pytest.approx((width * per_mm, height * per_mm), rel=0.02)


def test_letters_stand_at_the_edges(figure):
    letters = [[text.get_text() for text in axes.texts] for axes in panels(figure)[::7]]
    assert letters == [["R", "L", "A", "P"], ["R", "L", "S", "I"], ["A", "P", "S", "I"]]


def test_no_change_of_volume_is_white_less_blue_more_red_and_a_fold_yellow(figure):
    volume = panels(figure)[6].images[0]
    blue, white, red, quarter, folded = (
        volume.cmap(volume.norm(value))[:3] for value in (-1.0, 0.0, 1.0, -2.0, figures.FOLDED)
    )
    assert white == pytest.approx((1, 1, 1), abs=0.02)
    assert blue[2] > 0.9 > blue[0]
    assert red[0] > 0.9 > red[2]
    assert quarter == pytest.approx((0, 0, 1), abs=0.02)
    assert folded == pytest.approx((1, 0.84, 0.04), abs=0.01)


def test_volume_beyond_the_scale_is_no_fold(registration):
    """An eighth of the volume is as blue as a quarter; only what folds is yellow."""
    registration.moving_to_fixed.displacement_mm[:] *= 0
    registration.moving_to_fixed.displacement_mm[..., 2] = -0.9 * registration.fixed.grid.points()[..., 2]
    planes = three_planes(registration.fixed.grid, np.array([20, 17, 9]))
    figure = figures.draw([(planes[0], cut(registration, planes[0]))], "", {})
    volume = panels(figure)[6].images[0].get_array()
    assert np.ma.min(volume) == np.ma.max(volume) == -2


def test_labels_are_named_in_the_legend_and_outlined_in_their_colour(figure):
    legend = figure.legends[0]
    named = dict(zip((text.get_text() for text in legend.texts), legend.legend_handles, strict=True))
    assert {"liver", "fixed", "moving"} <= named.keys()
    colour = named["liver"].get_facecolor()[:3]
    solid, dashed = panels(figure)[2].collections
    for lines in (solid, dashed):
        assert lines.get_edgecolor()[0][:3] == pytest.approx(colour)
    assert solid.get_linestyle() != dashed.get_linestyle()


@pytest.mark.parametrize(("count", "length"), [(1, 5), (13, 110), (40, 20), (60, 20)])
def test_the_legend_of_many_labels_and_long_names_covers_nothing(registration, count, length):
    labels = registration.fixed_labels.array
    labels[:] = np.random.default_rng(0).integers(0, count + 1, labels.shape)
    plane = three_planes(registration.fixed.grid, np.array([20, 17, 9]))[0]
    names = {label: f"{label} ".ljust(length, "m") for label in range(1, count + 1)}
    figure = figures.draw([(plane, cut(registration, plane))], "", names)
    figure.canvas.draw()
    legend = figure.legends[0]
    drawn = {text.get_text().split()[0] for text in legend.texts}
    assert {str(label) for label in list(names)[:40]} <= drawn
    assert ("and 20 more" in [text.get_text() for text in legend.texts]) == (count == 60)
    others = [*figure.axes, *figure.texts[1:]]
    assert len(others) == 7 + 2 + 5
    box = legend.get_window_extent()
    assert not [other for other in others if box.overlaps(other.get_window_extent())]
    assert box.y0 > 0


def test_no_difference_is_mid_grey_and_missing_data_are_left_out(figure, registration):
    difference = panels(figure)[4].images[0]
    assert difference.cmap(difference.norm(0.0))[0] == pytest.approx(0.5, abs=0.01)
    planes = three_planes(registration.fixed.grid, np.array([20, 17, 9]))
    np.testing.assert_array_equal(
        np.ma.getmaskarray(difference.get_array()), np.isnan(cut(registration, planes[0]).warped)
    )


def test_a_scan_with_nothing_in_common_and_no_labels_is_still_drawn(registration, tmp_path, monkeypatch):
    registration.fixed_labels = registration.moving_labels = registration.moving_labels_warped = None
    registration.moving_to_fixed.displacement_mm[:] = 1e4
    registration.affine[0, 3] = 1e4
    registration.run_summary = registration.run_summary.model_copy(update={"label_names": {}, "labels": None})
    monkeypatch.setattr(figures, "caption", lambda summary: "nothing in common")
    figures.overview(registration, tmp_path / "overview.png")
    picture = imread(tmp_path / "overview.png")
    assert picture.shape[1] > picture.shape[0] > 300
    assert picture.std() > 0.1
