"""Which tests reach which line of the packages, found by running all of them once under coverage."""

import os
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path

from coverage import CoverageData
from faults import ROOT, Fault

PACKAGES = ("deformation", "losses", "evaluation", "image")
QUICK = ["-q", "-p", "no:cacheprovider", "-m", "not nightly and not slow"]


class Reached:
    """Which tests reach which line, and how long each takes: found by running all of them once."""

    def __init__(self, folder: Path, tests: list[str], always: list[str]) -> None:
        self._always = always
        data, times = folder / "coverage.sqlite", folder / "tests.xml"
        if not data.exists():
            cover = [f"--cov=mics.{package}" for package in PACKAGES] + ["--cov-context=test", "--cov-report="]
            partial = folder / "partial.sqlite"
            subprocess.run(
                [sys.executable, "-m", "pytest", *QUICK, *tests, *cover, "--cov-fail-under=0", f"--junitxml={times}"],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "COVERAGE_FILE": str(partial)},
                check=True,
            )
            partial.rename(data)
        self._data = CoverageData(str(data))
        self._data.read()
        self.seconds = {}
        for case in xml.etree.ElementTree.parse(times).iter("testcase"):
            name = f"{case.attrib['classname'].replace('.', '/')}.py::{case.attrib['name']}"
            self.seconds[name] = float(case.attrib["time"])

    def tests(self, fault: Fault, limit: float) -> tuple[list[str], float]:
        """Tests that may notice a fault, the shortest first, and files of which the new tests may; and how long they take."""
        contexts = self._data.contexts_by_lineno(str(ROOT / "src" / fault.module))
        wanted = contexts if fault.at_import else range(fault.lines[0], fault.lines[1] + 1)
        names = set()
        for context in {context for line in wanted for context in contexts.get(line, ()) if context}:
            name, phase = context.rsplit("|", 1)
            file = name.split("::")[0] + "::"
            # A fixture may be there for more tests than the first one.
            names |= {name} if phase == "run" else {test for test in self.seconds if test.startswith(file)}
        chosen: list[str] = []
        total = 0.0
        for name in sorted(names & self.seconds.keys(), key=lambda name: (self.seconds[name], name)):
            total += self.seconds[name]
            if total > limit and chosen:
                break
            chosen.append(name)
        module = Path(fault.module)
        own = f"tests/{module.parent.name}/test_{module.stem}.py"
        return chosen + [file for file in (own, *self._always) if (ROOT / file).exists()], total
