"""A registration of two volumes of the scene, from its nodes to new nodes. Pure Python: the scene is behind `Scene`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from MICSLib.environment import Environment
from MICSLib.process import Process

Node = Any
"""Of the scene: only the scene looks into it."""

_WARNING = "Warning: "


class JobError(Exception):
    """What went wrong, in a sentence for the user."""


@dataclass(frozen=True)
class Segment:
    """A segment as a mask in a file: 1 inside. Segments may overlap, so each has its own."""

    path: Path
    name: str
    colour: tuple[float, float, float]


class Scene(Protocol):
    """What a job asks of the scene. Files are in LPS mm, as Slicer writes and reads them."""

    def name(self, node: Node) -> str:
        """The name that the user sees."""

    def is_under_transform(self, node: Node) -> bool:
        """Whether a transform node moves it, which files do not show."""

    def save_volume(self, node: Node, path: Path) -> None:
        """Write a volume as NRRD."""

    def save_points(self, node: Node, path: Path) -> None:
        """Write a list of points as .mrk.json."""

    def save_segments(self, node: Node, volume: Node, folder: Path) -> list[Segment]:
        """Write each segment, sampled on the grid of ``volume``, as a mask into ``folder``."""

    def load_volume(self, path: Path, name: str) -> Node:
        """A new volume node."""

    def load_points(self, path: Path, name: str) -> Node:
        """A new point list."""

    def load_segments(self, segments: Sequence[Segment], volume: Node, name: str) -> Node:
        """A new segmentation, its masks on the grid of ``volume``."""

    def load_transform(self, path: Path, name: str) -> Node:
        """A new transform node of a displacement field in LPS mm.

        Slicer takes such a file as the node's transform FROM parent, as ITK's resampling needs it: from a point of the filled
        (fixed) scan to the point of the other one. So the moving volume put under the node lies on the fixed one.
        """


@dataclass(frozen=True)
class Inputs:
    """Nodes to register; the segmentation and the points are of the moving volume and are carried to the fixed one."""

    fixed: Node
    moving: Node
    segmentation: Node | None = None
    points: Node | None = None
    options: tuple[str, ...] = ()
    """Of `mics register`."""


@dataclass(frozen=True)
class Results:
    """The new nodes, the fixed scan that they belong to, and what the registration says of itself."""

    fixed: Node
    moving_to_fixed: Node
    fixed_to_moving: Node
    warped: Node
    segmentation: Node | None
    points: Node | None
    verdict: str
    reasons: tuple[str, ...]
    report: Path


class Job:
    """Runs step by step: :meth:`start`, then :meth:`poll` until it returns True, then :meth:`results`.

    ``folder``, new or empty, holds all files; it may go once the results are loaded.
    """

    def __init__(self, scene: Scene, environment: Environment, inputs: Inputs, folder: Path) -> None:
        self._scene, self._environment, self._inputs, self._folder = scene, environment, inputs, folder
        self._segments: list[Segment] = []
        self._process: Process | None = None
        self._steps: Iterator[list[str]] = iter(())
        self._said: list[str] = []
        self._warned: list[str] = []

    def start(self) -> None:
        """Write the nodes into files and begin. Raises JobError for what cannot be meant."""
        scene, inputs, folder = self._scene, self._inputs, self._folder
        if inputs.fixed is None or inputs.moving is None or inputs.fixed is inputs.moving:
            raise JobError("Choose two different volumes, the fixed and the moving one.")
        for node in (inputs.fixed, inputs.moving, inputs.segmentation, inputs.points):
            if node is not None and scene.is_under_transform(node):
                raise JobError(f"{scene.name(node)} is under a transform: harden it first, or take it out from there.")
        (folder / "segments").mkdir(parents=True)
        scene.save_volume(inputs.fixed, folder / "fixed.nrrd")
        scene.save_volume(inputs.moving, folder / "moving.nrrd")
        if inputs.segmentation is not None:
            self._segments = scene.save_segments(inputs.segmentation, inputs.moving, folder / "segments")
        if inputs.points is not None:
            scene.save_points(inputs.points, folder / "points.mrk.json")
        self._steps = iter(self._commands())
        self._next()

    def poll(self, show: Callable[[str], None]) -> bool:
        """Whether all is done; ``show`` is given each new line. Raises JobError where a step has failed."""
        assert self._process is not None, "start comes first"
        code = self._process.code
        for line in self._process.new_lines():
            self._said.append(line)
            if line.startswith(_WARNING):
                self._warned.append(line.removeprefix(_WARNING))
            show(line)
        if code is None:
            return False
        if code != 0:
            raise JobError(failure(self._said, code))
        return not self._next()

    def stop(self) -> None:
        """End what is running."""
        if self._process is not None:
            self._process.stop()

    def results(self) -> Results:
        """Load what came out into the scene."""
        scene, inputs, out = self._scene, self._inputs, self._folder / "out"
        onto = f"{scene.name(inputs.moving)} on {scene.name(inputs.fixed)}"
        summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
        verdict = summary.get("verdict") or {"word": "not judged", "reasons": []}
        carried = [Segment(self._carried / one.path.name, one.name, one.colour) for one in self._segments]
        segmentation = points = None
        if carried:
            name = f"{scene.name(inputs.segmentation)} on {scene.name(inputs.fixed)}"
            segmentation = scene.load_segments(carried, inputs.fixed, name)
        if inputs.points is not None:
            name = f"{scene.name(inputs.points)} on {scene.name(inputs.fixed)}"
            points = scene.load_points(self._folder / "carried.mrk.json", name)
        return Results(
            fixed=inputs.fixed,
            moving_to_fixed=scene.load_transform(out / "transform_moving_to_fixed.nii.gz", f"{onto} (transform)"),
            fixed_to_moving=scene.load_transform(out / "transform_fixed_to_moving.nii.gz", f"{onto} (inverse)"),
            warped=scene.load_volume(out / "moving_warped.nii.gz", onto),
            segmentation=segmentation,
            points=points,
            verdict=verdict["word"],
            reasons=tuple(dict.fromkeys([*verdict["reasons"], *summary["warnings"], *self._warned])),
            report=out / "report.html",
        )

    @property
    def _carried(self) -> Path:
        """The folder of the carried segments."""
        return self._folder / "carried"

    def _commands(self) -> Iterator[list[str]]:
        run, folder, out = self._environment.mics, self._folder, self._folder / "out"
        yield run("register", folder / "fixed.nrrd", folder / "moving.nrrd", "-o", out, *self._inputs.options)
        # Images and masks of the moving scan go by moving_to_fixed, points by the other file.
        forward, backward = out / "transform_moving_to_fixed.nii.gz", out / "transform_fixed_to_moving.nii.gz"
        if len(self._segments) == 1:
            self._carried.mkdir()
            path = self._segments[0].path
            yield run("warp", path, forward, "--labels", "-o", self._carried / path.name)
        elif self._segments:
            paths = [segment.path for segment in self._segments]
            yield run("warp", *paths, forward, "--labels", "-o", self._carried)
        if self._inputs.points is not None:
            yield run("warp", folder / "points.mrk.json", backward, "-o", folder / "carried.mrk.json")

    def _next(self) -> bool:
        """Begin the next step; False where none is left."""
        command = next(self._steps, None)
        if command is None:
            return False
        self._said = []
        self._process = Process(command, self._folder / "log.txt")
        return True


def failure(said: Sequence[str], code: int) -> str:
    """The sentence of a command that failed: its own, or the last that it said."""
    errors = [index for index, line in enumerate(said) if line.lower().startswith("error:")]
    if errors:
        return " ".join(said[errors[-1] :]).split(":", 1)[1].strip()
    return f"It ended with code {code}: {' '.join(said[-3:]) or 'without a word'}"
