import json
import re
import shutil
import subprocess
import time
from types import SimpleNamespace
from urllib.request import Request, urlopen

import numpy as np
import pytest

from mics.deformation.transform import Transform
from mics.image.grid import Grid
from mics.image.io import Image

SCALE, SHIFT = (
    np.array([1.25, 1.0, 0.8]),
    np.array([4.3, -3.2, 2.4]),
)  # fixed point to moving point, mm, about the origin


def hu(points):
    """A linear ramp, which linear interpolation keeps exactly."""
    return (2 * points[..., 0] + 3 * points[..., 1] - points[..., 2]).astype(np.float32)


@pytest.fixture
def registration():
    """What the picture needs of a registration, with an affine and a whole transform that are known by formula."""
    fixed_grid = Grid.axis_aligned((-40, -30, -30), (40, 34, 30), (2, 2, 3), "RAS")
    moving_grid = Grid.axis_aligned((-60, -45, -18), (70, 45, 40), (2, 3, 2), "LPS")
    affine = np.eye(4)
    affine[:3, 3] = SHIFT
    fixed_points = fixed_grid.points()
    moving = Image(hu(moving_grid.points()), moving_grid)
    transform = Transform((fixed_points * (SCALE - 1) + SHIFT).astype(np.float32), fixed_grid)
    labels = Image((np.linalg.norm(fixed_points - (5, 0, 8), axis=-1) < 12).astype(np.uint8), fixed_grid)
    moving_labels = Image((np.linalg.norm(moving_grid.points(), axis=-1) < 12).astype(np.uint8), moving_grid)
    return SimpleNamespace(
        fixed=Image(hu(fixed_points), fixed_grid),
        moving=moving,
        affine=affine,
        moving_to_fixed=transform,
        moving_warped=transform.transform_image(moving),
        fixed_labels=labels,
        moving_labels=moving_labels,
        moving_labels_warped=transform.transform_labels(moving_labels),
        summary={},
    )


@pytest.fixture
def full_summary():
    """A summary with everything that the page shows, of a pair with the labels 1 and 2."""
    scan = {"labels": None, "exclude": None, "grid": Grid((4, 5, 6), (1, 1, 2), (0, 0, 0)).to_dict()}
    scores = {"dice": {"1": 0.9, "2": 0.7}, "hd95_mm": {"1": 4.0, "2": None}, "mda_mm": {"1": 1.0, "2": None}}
    before = {f"{name}_affine_only": {"1": 0.25, "2": 0.5} for name in scores}
    mean = {"mean_dice": 0.8, "mean_dice_affine_only": 0.375, "worst_label": "2"}
    both = {"moving_to_fixed": 0.0, "fixed_to_moving": 0.0005}
    model = {"name": "mics-velocity", "sha256": "0123abcd", "spacing_mm": 8.0}
    organ = {"fixed_ml": 160.0, "moving_ml": 180.0, "dice_affine": 0.4, "dice_result": None}
    return {
        "mics_version": "0.1.0",
        "finished": "2031-05-17T08:09:10+00:00",
        "inputs": {
            "fixed": {"path": "/ward/secret-folder/fixed.nii.gz", **scan},
            "moving": {"path": "/ward/secret-folder/moving.nii.gz", **scan},
        },
        "settings": {
            "affine": "/ward/secret-folder/start.tfm",
            "steps": 1,
            "refine": "fast",
            "topology": "free",
            "device": "cpu",
            "model": model,
            "segmentation_model": None,
        },
        "verdict": {"word": "look", "reasons": ["There and back misses by up to 12.0 mm."]},
        "geometry": {"affine_fixed_to_moving_lps_mm": np.eye(4).tolist()},
        "folds": both,
        "jacobian": {way: {"min": 0.1, "max": 4.0} for way in both},
        "inverse_consistency_mm": {way: {"mean": 0.5, "max": 12.0} for way in both},
        "labels": {"moving_to_fixed": {**scores, **before, **mean}},
        "label_names": {"1": "liver"},
        "landmarks": {
            "count": 3,
            "tre_mm": {"mean": 2.0, "max": 4.0},
            "tre_mm_affine_only": {"mean": 8.0, "max": 9.0},
        },
        "evidence": {
            "organs": {"spleen": organ},
            "organ_overlap": {"affine": 0.4, "result": 0.9},
            "similarity": {"affine": None, "result": 0.85},
        },
        "seconds": {"read": 1.0, "total": 33.3},
        "warnings": ["/ward/secret-folder/fixed.nii.gz is mirrored."],
    }


class Browser:
    """Chromium by the WebDriver protocol (w3.org/TR/webdriver2), as far as these tests need it."""

    def __init__(self, address, binary):
        self.address = address
        options = {
            "binary": binary,
            "args": [
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--window-size=1400,900",
            ],
        }
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        self.session = ""
        found = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self.session = f"/session/{found['sessionId']}"

    def _ask(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.address + self.session + path, data, {"Content-Type": "application/json"}, method=method)
        with urlopen(request, timeout=120) as answer:
            return json.load(answer)["value"]

    def open(self, path):
        """Open a page and wait until its planes are there, or it says why not."""
        self._ask("POST", "/url", {"url": path.as_uri()})
        shown = "return viewer.getAttribute('aria-busy') === 'false' || !problem.hidden"
        self.until("const [viewer, problem] = ['viewer', 'problem'].map(id => document.getElementById(id));" + shown)
        self.settle()

    def run(self, script, *arguments):
        return self._ask("POST", "/execute/sync", {"script": script, "args": arguments})

    def until(self, script, seconds=60):
        end = time.monotonic() + seconds
        while not self.run(script):
            assert time.monotonic() < end, script
            time.sleep(0.05)

    def settle(self):
        """Wait until what was changed is drawn."""
        script = "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done(true)))"
        assert self._ask("POST", "/execute/async", {"script": script, "args": []})

    def click(self, name):
        self.run("document.getElementById(arguments[0]).click()", name)
        self.settle()

    def press(self, name, keys):
        element = self._ask("POST", "/element", {"using": "css selector", "value": f"#{name}"})
        self._ask("POST", f"/element/{next(iter(element.values()))}/value", {"text": keys})
        self.settle()

    def text(self, name):
        return self.run("return document.getElementById(arguments[0])?.textContent ?? null", name)

    def go(self, **slices):
        """Set the sliders of planes."""
        for plane, value in slices.items():
            self.run(
                "const slider = document.getElementById(arguments[0]); slider.value = arguments[1];"
                "slider.dispatchEvent(new Event('input'))",
                f"slice-{plane}",
                value,
            )
        self.settle()

    def pixels(self, name):
        """Rows, columns and colours of a canvas."""
        found = self.run(
            "const c = document.getElementById(arguments[0]), copy = new OffscreenCanvas(c.width, c.height).getContext('2d');"
            "copy.drawImage(c, 0, 0); return [c.height, c.width, [...copy.getImageData(0, 0, c.width, c.height).data]]",
            name,
        )
        return np.array(found[2], dtype=int).reshape(found[0], found[1], 4)[..., :3]

    def emulate(self, command, **parameters):
        self._ask("POST", "/goog/cdp/execute", {"cmd": f"Emulation.{command}", "params": parameters})
        self.settle()

    def prefer(self, theme):
        self.emulate("setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])

    def resize(self, width, height):
        self.emulate("setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def complaints(self):
        """What the console was told."""
        return [entry["message"] for entry in self._ask("POST", "/se/log", {"type": "browser"})]

    def close(self):
        self._ask("DELETE", "")


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium; the tests that ask for it are skipped where there is none."""
    driver = shutil.which("chromedriver")
    binary = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not (driver and binary):
        pytest.skip("chromium and chromedriver are not installed")
    process = subprocess.Popen([driver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        port = next(found[1] for line in process.stdout if (found := re.search(r"successfully on port (\d+)", line)))
        browser = Browser(f"http://127.0.0.1:{port}", binary)
        yield browser
        browser.close()
    finally:
        process.terminate()
        process.wait()
