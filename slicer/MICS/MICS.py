"""3D Slicer: two CT volumes, a button, and the moving one on the fixed one. See docs/slicer.md."""

from __future__ import annotations

import html
import shutil
import sys
import tempfile
from pathlib import Path

import ctk
import qt
from MICSLib.environment import OLDEST_PYTHON, Environment
from MICSLib.job import Inputs, Job, JobError, Results, failure
from MICSLib.process import Process
from MICSLib.slicer_scene import SlicerScene
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleWidget

import slicer

_HERE = Path(__file__).parent
_EVERY_MS = 500
_COLOURS = {"good": "#2e7d32", "look": "#b26a00", "failed": "#b71c1c"}


class MICS(ScriptedLoadableModule):
    """What Slicer lists."""

    def __init__(self, parent):
        super().__init__(parent)
        parent.title = "MICS: deformable CT registration"
        parent.categories = ["Registration"]
        parent.contributors = ["The MICS authors"]
        parent.helpText = "Deformable registration of abdominal CT, both ways. Research software, not a medical device."
        parent.acknowledgementText = ""


class MICSWidget(ScriptedLoadableModuleWidget):
    """The panel."""

    def setup(self):
        """Build the panel."""
        super().setup()
        self._job, self._installation, self._folder = None, None, None
        self._timer = qt.QTimer()
        self._timer.setInterval(_EVERY_MS)
        self._timer.timeout.connect(self._look)
        wheels = sorted((_HERE / "Resources").glob("mics_registration-*.whl"))
        self._wheel = wheels[-1] if wheels else None
        python = shutil.which("PythonSlicer") or sys.executable
        home = (
            Path(slicer.app.slicerUserSettingsFilePath).parent
            / "MICS"
            / f"python{sys.version_info[0]}.{sys.version_info[1]}"
        )
        self._environment = Environment(python, home)

        box = ctk.ctkCollapsibleButton()
        box.text = "Registration"
        self.layout.addWidget(box)
        form = qt.QFormLayout(box)
        self._fixed = _selector("vtkMRMLScalarVolumeNode", "The CT that stays where it is.")
        self._moving = _selector("vtkMRMLScalarVolumeNode", "The CT that is brought onto it.")
        self._segmentation = _selector(
            "vtkMRMLSegmentationNode", "Of the moving CT; carried to the fixed one.", optional=True
        )
        self._points = _selector(
            "vtkMRMLMarkupsFiducialNode", "Of the moving CT; carried to the fixed one.", optional=True
        )
        self._refine = qt.QComboBox()
        for word in ("fast", "accurate", "none"):
            self._refine.addItem(word)
        for label, widget in (
            ("Fixed volume:", self._fixed),
            ("Moving volume:", self._moving),
            ("Segmentation of it:", self._segmentation),
            ("Points of it:", self._points),
            ("Refinement:", self._refine),
        ):
            form.addRow(label, widget)
        self._button, self._cancel = qt.QPushButton(), qt.QPushButton("Cancel")
        self._button.clicked.connect(self._begin)
        self._cancel.clicked.connect(self._stop)
        form.addRow(self._button)
        form.addRow(self._cancel)
        self._bar, self._step, self._verdict = qt.QProgressBar(), qt.QLabel(), qt.QLabel()
        self._bar.setRange(0, 0)
        for label in (self._step, self._verdict):
            label.wordWrap = True
        self._verdict.openExternalLinks = True
        for widget in (self._bar, self._step, self._verdict):
            form.addRow(widget)
        self.layout.addStretch(1)
        self._rest()

    def cleanup(self):
        """Slicer closes the module: nothing goes on running, no file stays behind."""
        self._stop()
        self._tidy()

    def _begin(self):
        self._verdict.text = ""
        try:
            self._start_job() if self._is_installed() else self._start_installation()
        except (JobError, OSError) as error:
            self._fail(str(error))
            return
        self._bar.visible = self._cancel.enabled = True
        self._button.enabled = False
        self._timer.start()

    def _is_installed(self):
        return self._wheel is not None and self._environment.has(self._wheel)

    def _start_installation(self):
        if sys.version_info < OLDEST_PYTHON:
            raise JobError("This Slicer's Python is too old: MICS needs 3.11 or later.")
        if self._wheel is None:
            raise JobError(f"The package does not lie in {_HERE / 'Resources'}: unpack the whole archive.")
        text = "MICS and the libraries that it needs (PyTorch, ANTs: some gigabytes) are installed into a folder of their own, "
        if not slicer.util.confirmOkCancelDisplay(f"{text}{self._environment.folder}. Go on?"):
            raise JobError("Not installed.")
        self._environment.folder.mkdir(parents=True, exist_ok=True)
        command = self._environment.install(self._wheel)
        self._installation = Process(command, self._environment.folder.parent / "installation.txt")
        self._step.text = "Installing; this happens once."

    def _start_job(self):
        self._tidy()
        self._folder = Path(tempfile.mkdtemp(prefix="mics-", dir=slicer.app.temporaryPath))
        inputs = Inputs(
            self._fixed.currentNode(),
            self._moving.currentNode(),
            self._segmentation.currentNode(),
            self._points.currentNode(),
            ("--refine", self._refine.currentText),
        )
        self._job = Job(SlicerScene(), self._environment, inputs, self._folder)
        self._step.text = "Reading"
        self._job.start()

    def _look(self):
        try:
            if self._installation is not None:
                self._look_at_installation()
            elif self._job.poll(self._show):
                self._rest()
                results, self._job = self._job.results(), None
                self._done(results)
        except Exception as error:  # a timer's errors reach no one else
            self._fail(str(error))

    def _look_at_installation(self):
        code = self._installation.code
        lines = self._installation.new_lines()
        for line in lines:
            self._show(line)
        if code is None:
            return
        self._installation = None
        if code != 0:
            raise JobError(failure(lines, code))
        self._start_job()

    def _show(self, line):
        self._step.text = line[:200]

    def _done(self, results: Results):
        slicer.util.setSliceViewerLayers(background=results.fixed, foreground=results.warped, foregroundOpacity=0.5)
        reasons = "".join(f"<li>{html.escape(reason)}</li>" for reason in results.reasons)
        link = f'<a href="{results.report.as_uri()}">Report</a>' if results.report.is_file() else ""
        colour = _COLOURS.get(results.verdict, "")
        self._verdict.text = f'<b style="color:{colour}">{html.escape(results.verdict)}</b><ul>{reasons}</ul>{link}'
        self._step.text = "Done. New: both transforms, the warped volume, and what was carried."

    def _fail(self, sentence):
        self._stop()
        self._step.text = sentence

    def _stop(self):
        for running in (self._job, self._installation):
            if running is not None:
                running.stop()
        self._job = self._installation = None
        self._step.text = ""
        self._rest()

    def _rest(self):
        self._timer.stop()
        self._bar.visible = self._cancel.enabled = False
        self._button.enabled = True
        self._button.text = "Register" if self._is_installed() else "Install MICS and register"

    def _tidy(self):
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _selector(kind, tip, optional=False):
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = [kind]
    selector.addEnabled = selector.removeEnabled = False
    selector.noneEnabled = optional
    selector.showChildNodeTypes = False
    selector.setMRMLScene(slicer.mrmlScene)
    selector.setToolTip(tip)
    return selector
