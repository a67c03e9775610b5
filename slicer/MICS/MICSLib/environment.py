"""Where the package lives: a folder of the module's own, so that Slicer's SimpleITK, NumPy and VTK stay as they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

OLDEST_PYTHON = (3, 11)


@dataclass(frozen=True)
class Environment:
    """``python``: Slicer's interpreter, PythonSlicer. ``folder``: what its pip installs into."""

    python: str
    folder: Path

    def has(self, wheel: Path) -> bool:
        """Whether this version of the package is installed; a wheel is called NAME-VERSION-TAGS.whl."""
        name, version = wheel.name.split("-")[:2]
        return (self.folder / f"{name}-{version}.dist-info").is_dir()

    def install(self, wheel: Path) -> list[str]:
        """The command that installs the package and what it needs."""
        pip = [self.python, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off"]
        return [*pip, "--upgrade", "--target", str(self.folder), str(wheel)]

    def mics(self, *arguments: str | Path) -> list[str]:
        """The command that runs `mics`."""
        script = Path(__file__).with_name("run_mics.py")
        return [self.python, str(script), str(self.folder), *map(str, arguments)]
