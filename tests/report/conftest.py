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
from mics.run_summary import RunSummary

SCALE, SHIFT = (
    np.array([1.25, 1.0, 0.8]),
    np.array([4.3, -3.2, 2.4]),
)  # fixed point to moving point, mm, about the origin


def hu(points):
    """A linear ramp, which linear interpolation keeps exactly."""
    return (2 * points[..., 0] + 3 * points[..., 1] - points[..., 2]).astype(np.float32)


@pytest.fixture
def registration(full_summary):
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
        run_summary=RunSummary.model_validate(full_summary),
    )


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
    started = subprocess.Popen([driver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    with started as process:
        try:
            port = next(
                found[1] for line in process.stdout if (found := re.search(r"successfully on port (\d+)", line))
            )
            browser = Browser(f"http://127.0.0.1:{port}", binary)
            yield browser
            browser.close()
        finally:
            process.terminate()
