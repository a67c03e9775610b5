"""The page as a user has it: opened from a file in a browser, used by its own controls."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from mics.deformation.transform import Transform
from mics.image.grid import Grid
from mics.image.io import Image
from mics.report import page, volumes
from mics.run_summary import RunSummary

MARKUP = "<img src=x onerror=alert(1)>&amp;'\".nii.gz"
NAMES = {"1": "liver", "2": "</script><b>x"}


def pair(grid, summary, seed=0):
    """Two smooth scans, an affine and a smooth deformation beyond it, and labels, on a grid of any direction."""
    random = np.random.default_rng(seed)

    def smooth(scale, *channels):
        noise = gaussian_filter(random.normal(size=(*grid.size, *channels)), (4, 4, 4, 0)[: 3 + len(channels)])
        return (scale * noise / np.abs(noise).max()).astype(np.float32)

    affine = np.eye(4)
    affine[:3, :3] = np.diag([1.2, 0.9, 1.1])
    affine[:3, 3] = (3, -2, -1)
    points = grid.points()
    displacement = points @ affine[:3, :3].T.astype(np.float32) + affine[:3, 3].astype(np.float32) - points
    transform = Transform(displacement + smooth(4.0, 3), grid)
    moving_grid = Grid.axis_aligned((-40, -35, -6), (40, 40, 60), (2, 2, 3), "RAS")
    moving = Image(random.normal(40, 80, moving_grid.size).astype(np.float32), moving_grid)
    labels = Image((smooth(1.0) > 0.3).astype(np.uint8) + 2 * (smooth(1.0) > 0.5).astype(np.uint8), grid)
    labels.array[labels.array == 3] = 2
    moving_labels = Image((moving.array > 40).astype(np.uint8), moving_grid)
    return SimpleNamespace(
        fixed=Image(smooth(250.0) - 20, grid),
        moving=moving,
        affine=affine,
        moving_to_fixed=transform,
        moving_warped=transform.transform_image(moving),
        fixed_labels=labels,
        moving_labels=moving_labels,
        moving_labels_warped=transform.transform_labels(moving_labels),
        run_summary=RunSummary.model_validate({**summary, "label_names": NAMES}),
    )


def numbers(text):
    return [float(number.replace("−", "-")) for number in re.findall(r"[−-]?\d+(?:\.\d+)?", text)]


def change_of_volume(result):
    """The determinant beyond the affine at every voxel, by numpy."""
    grid = result.fixed.grid
    targets = (grid.points() + result.moving_to_fixed.displacement_mm).astype(float)
    along = np.stack([np.gradient(targets, axis=axis) / grid.spacing[axis] for axis in range(3)], axis=-1)
    turned = np.linalg.det(np.array(grid.direction).reshape(3, 3))
    return np.linalg.det(along) / turned / np.linalg.det(result.affine[:3, :3])


def go(browser, shares):
    """Slices at these shares of the sagittal, coronal and axial planes; the voxel of the fixed file that is then told."""
    planes = ("sagittal", "coronal", "axial")
    last = [int(browser.run("return document.getElementById(arguments[0]).max", f"slice-{plane}")) for plane in planes]
    browser.go(**{plane: round(share * n) for plane, share, n in zip(planes, shares, last, strict=True)})
    return numbers(browser.text("value-voxel"))


@pytest.fixture
def opened(browser, full_summary, tmp_path):
    """Write and open the page of a pair, and close it with a look at the console."""

    def open_page(grid):
        result = pair(grid, full_summary)
        page.write_report(result, tmp_path / "report.html")
        browser.open(tmp_path / "report.html")
        return result

    yield open_page
    assert browser.complaints() == []


def test_the_crosshair_tells_what_the_arrays_hold(grid, opened, browser, monkeypatch):
    """At several voxels, on grids of every kind of direction; with the deformation at every voxel."""
    monkeypatch.setattr(volumes, "FIELD_MM", 1.0)
    result = opened(grid)
    change = change_of_volume(result)
    names = {0: "–", 1: NAMES["1"], 2: NAMES["2"]}
    for shares in ((0.2, 0.4, 0.6), (0.5, 0.5, 0.5), (0.9, 0.7, 0.3), (1, 0, 1)):
        voxel = tuple(int(n) for n in go(browser, shares))
        world = grid.voxel_to_world(voxel)
        np.testing.assert_allclose(numbers(browser.text("value-place")), world, atol=0.051)
        assert numbers(browser.text("value-fixed"))[0] == pytest.approx(result.fixed.array[voxel], abs=2.1)
        shown, warped = browser.text("value-moving"), result.moving_warped.array[voxel]
        assert shown == "no data" if warped == -1000 else numbers(shown)[0] == pytest.approx(warped, abs=2.1)
        assert browser.text("value-organ") == names[int(result.fixed_labels.array[voxel])]
        assert browser.text("value-moving-organ") == names[int(result.moving_labels_warped.array[voxel])]
        moved = result.moving_to_fixed.displacement_mm[voxel]
        length, *parts = numbers(browser.text("value-displacement"))
        np.testing.assert_allclose(parts, moved, atol=0.12)
        assert length == pytest.approx(np.linalg.norm(moved), abs=0.15)
        beyond = world + moved - (result.affine[:3, :3] @ world + result.affine[:3, 3])
        assert numbers(browser.text("value-beyond"))[0] == pytest.approx(np.linalg.norm(beyond), abs=0.15)
        # Half of a fortieth of an octave, and half of the last digit.
        exact = change[voxel]
        assert numbers(browser.text("value-jacobian"))[0] == pytest.approx(exact, abs=0.0088 * exact + 0.0051)


def test_what_is_shown_coarser_is_the_mean_of_its_voxels_and_lies_in_their_middle(grids, opened, browser, monkeypatch):
    grid = grids["oblique_left_handed"]
    monkeypatch.setattr(page, "MAX_VOXELS", 1000)
    result = opened(grid)
    middle = np.array(go(browser, (0.5, 0.5, 0.5)))
    steps = [
        next(step for step in range(1, 5) if (n // step) == shown)
        for n, shown in zip(grid.size, _shown_sizes(browser, grid), strict=True)
    ]
    assert max(steps) > 1
    low = np.rint(middle - (np.array(steps) - 1) / 2).astype(int)
    block = result.fixed.array[tuple(slice(a, a + step) for a, step in zip(low, steps, strict=True))]
    assert block.shape == tuple(steps)
    assert numbers(browser.text("value-fixed"))[0] == pytest.approx(block.mean(), abs=2.1)
    np.testing.assert_allclose(numbers(browser.text("value-place")), grid.voxel_to_world(middle), atol=0.051)
    moved = result.moving_to_fixed.transform_points(grid.voxel_to_world(middle)[None])[0] - grid.voxel_to_world(middle)
    np.testing.assert_allclose(numbers(browser.text("value-displacement"))[1:], moved, atol=0.15)
    assert "as means of voxels" in browser.text("viewer-note")


def _shown_sizes(browser, grid):
    """Slices along the file's own axes."""
    sliders = {"L": "sagittal", "R": "sagittal", "P": "coronal", "A": "coronal", "S": "axial", "I": "axial"}
    script = "return Number(document.getElementById(arguments[0]).max) + 1"
    return [browser.run(script, f"slice-{sliders[letter]}") for letter in grid.orientation]


def test_every_layer_is_another_picture_of_the_same_slice(grids, opened, browser):
    opened(grids["anisotropic"])
    browser.click("contours")
    pictures = []
    for number in range(1, 8):
        browser.click(f"layer-{number}")
        assert browser.run("return document.querySelectorAll('[aria-checked=true]').length") == 1
        pictures.append(browser.pixels("plane-axial"))
    fixed, warped, blend, checkerboard, curtain, difference, volume = pictures
    for n, one in enumerate(pictures):
        assert all((one != other).any() for other in pictures[:n])
    width = fixed.shape[1]
    left, right = np.s_[:, : int(0.4 * width)], np.s_[:, int(0.6 * width) :]
    np.testing.assert_array_equal(curtain[left], fixed[left])
    np.testing.assert_array_equal(curtain[right], warped[right])
    quiet = np.s_[5:20, 5 : width // 3]  # no letter, no crosshair
    np.testing.assert_allclose(blend[quiet], (fixed[quiet] + warped[quiet]) / 2, atol=2)
    dots = width / 30  # of a voxel; a tile of 30 mm is 20 voxels, and its edge is smooth over one
    np.testing.assert_array_equal(
        checkerboard[: int(18 * dots), : int(18 * dots)], fixed[: int(18 * dots), : int(18 * dots)]
    )
    np.testing.assert_array_equal(
        checkerboard[: int(18 * dots), int(22 * dots) :], warped[: int(18 * dots), int(22 * dots) :]
    )
    np.testing.assert_array_equal(
        checkerboard[int(22 * dots) :, : int(18 * dots)], warped[int(22 * dots) :, : int(18 * dots)]
    )
    for grey in (fixed, warped, difference):
        assert np.ptp(grey[quiet], axis=-1).max() < 25  # "no data" is not quite grey
    assert np.ptp(volume[quiet], axis=-1).max() > 25
    browser.click("before")
    browser.click("layer-2")
    assert (browser.pixels("plane-axial") != warped).any()
    assert browser.run("return document.querySelector('#value-moving').previousSibling.textContent") == (
        "Moving, affine alone"
    )


def test_keys_do_what_the_page_says(grids, opened, browser):
    opened(grids["lps"])
    x, y, z = go(browser, (0.5, 0.5, 0.5))
    for keys, expected in (
        ("\ue014", (x + 1, y, z)),  # arrow right: towards the patient's left
        ("\ue015", (x + 1, y + 1, z)),  # arrow down: posterior
        ("\ue00e", (x + 1, y + 1, z + 1)),  # page up: a slice towards the head
        ("\ue011", (x + 1, y + 1, 0)),  # home
    ):
        browser.press("plane-axial", keys)
        assert tuple(numbers(browser.text("value-voxel"))) == expected
    browser.press("plane-axial", "4")
    assert browser.run("return document.getElementById('layer-4').getAttribute('aria-checked')") == "true"
    for key, name in (("b", "before"), ("c", "contours"), ("g", "grid")):
        pressed = browser.run("return document.getElementById(arguments[0]).getAttribute('aria-pressed')", name)
        browser.press("plane-axial", key)
        assert browser.run("return document.getElementById(arguments[0]).ariaPressed", name) != pressed
    before = browser.run("return document.getElementById('window').value")
    browser.press("plane-axial", "w")
    assert browser.run("return document.getElementById('window').value") != before
    browser.press("plane-axial", "\ue007")  # enter: alone
    assert browser.run("return [...document.querySelectorAll('figure')].filter(f => !f.hidden).length") == 1


def test_an_organ_of_the_table_is_gone_to(grids, opened, browser):
    opened(grids["permuted"])
    browser.run("document.querySelector('button.organ[data-label=\"2\"]').click()")
    browser.settle()
    assert browser.text("value-organ") == NAMES["2"]


def test_names_with_markup_are_text(grids, opened, browser, full_summary):
    full_summary["inputs"]["fixed"]["path"] = f"/ward/secret-folder/{MARKUP}"
    full_summary["warnings"] = [f"/ward/secret-folder/{MARKUP} is mirrored."]
    full_summary["verdict"]["reasons"] = ["<script>document.title = 'changed'</script>"]
    full_summary["evidence"]["organs"] = {"<b>spleen</b>": full_summary["evidence"]["organs"]["spleen"]}
    opened(grids["lps"])
    assert browser.run("return document.title") == f"Registration: moving.nii.gz onto {MARKUP}"
    assert browser.run("return document.querySelectorAll('img, b b, main script, td b').length") == 0
    body = browser.run("return document.body.innerText")
    for text in (f"{MARKUP} is mirrored.", "<script>document.title = 'changed'</script>", NAMES["2"], "<b>spleen</b>"):
        assert text in body


def test_both_themes_and_the_switch_between_them(grids, opened, browser):
    def lightness():
        return sum(numbers(browser.run("return getComputedStyle(document.body).backgroundColor"))[:3]) / 765

    opened(grids["lps"])
    browser.prefer("light")
    assert lightness() > 0.9
    browser.prefer("dark")
    assert lightness() < 0.2
    browser.click("theme")
    assert lightness() > 0.9
    browser.prefer("light")


@pytest.mark.parametrize(("width", "columns"), [(1400, 3), (420, 1)])
def test_planes_stand_side_by_side_where_there_is_room(grids, opened, browser, width, columns):
    browser.resize(width, 900)
    try:
        opened(grids["lps"])
        lefts = browser.run(
            "return [...document.querySelectorAll('figure')].map(f => Math.round(f.getBoundingClientRect().left))"
        )
        assert len(set(lefts)) == columns
        assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
    finally:
        browser.resize(1400, 900)


def test_the_page_loads_nothing_and_names_neither_folder_nor_date(grids, opened, browser, tmp_path):
    opened(grids["lps"])
    assert browser.run("return performance.getEntriesByType('resource').map(e => e.name)") == []
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "secret-folder" not in text
    assert "ward" not in re.sub(r"[A-Za-z0-9+/=]{200,}", "", text).replace("towards", "").replace("forward", "")
    assert "2031" not in re.sub(r"[A-Za-z0-9+/=]{200,}", "", text)
    assert "http" not in re.sub(r"[A-Za-z0-9+/=]{200,}", "", text).replace("http-equiv", "")


def test_without_labels_there_are_no_contours(grids, browser, full_summary, tmp_path):
    result = pair(grids["lps"], {**full_summary, "labels": None, "landmarks": None, "evidence": None})
    result.fixed_labels = result.moving_labels = result.moving_labels_warped = None
    page.write_report(result, tmp_path / "report.html")
    browser.open(tmp_path / "report.html")
    assert browser.text("value-organ") is None
    assert browser.run("return document.getElementById('contours').hidden")
    assert browser.complaints() == []


def test_figures_and_tables(full_summary):
    html = page.report(pair(Grid((8, 8, 8), (4, 4, 4), (0, 0, 0)), full_summary))
    text = re.sub(r"<[^>]+>", " ", html)
    for shown in ("0.38 → 0.80", "0.40 → 0.90", "– → 0.85", "8.0 → 2.0", "0.50", "0.050 %"):
        assert shown in text
    rows = [re.sub(r"<[^>]+>", " ", row).split() for row in re.findall(r"<tr>.*?</tr>", html)]
    assert ["liver", "0.25", "→", "0.90", "0.2", "→", "4.0", "0.2", "→", "1.0"] in rows
    assert ["spleen", "160", "180", "0.40", "→", "–"] in rows
    assert "fixed.nii.gz is mirrored." in text
    assert "start.tfm" in text


def test_what_packs_badly_is_shown_coarser(full_summary, monkeypatch):
    monkeypatch.setattr(page, "MAX_BYTES", 600_000)
    result = pair(Grid((64, 64, 64), (2, 2, 2), (0, 0, 0)), full_summary)
    result.fixed.array[:] = np.random.default_rng(0).uniform(-200, 300, result.fixed.array.shape)
    html = page.report(result)
    assert len(html) < 600_000
    assert "as means of voxels of 2.00 × 2.00 × 2.00 mm" in html
