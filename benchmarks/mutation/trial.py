"""One fault, tried: put into a copy of the package, judged by its tests in a fork, and taken out again."""

import os
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest
from faults import ROOT, Fault
from reached import QUICK, Reached

COLUMNS = ("package", "module", "line", "start", "end", "kind", "before", "after", "outcome", "tests", "seconds")
MEMORY = 8 << 30


class Only:
    """A plugin of pytest: of what is collected, these tests, in this order; a file's name stands for its unknown ones."""

    def __init__(self, names: list[str], known: Collection[str]) -> None:
        self._known = known
        self._order = {name: place for place, name in enumerate(names)}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out and sort."""
        known = [(self._place(item), item) for item in items]
        items[:] = [item for place, item in sorted(known, key=lambda one: one[0]) if place < len(self._order)]

    def _place(self, item: pytest.Item) -> int:
        name = item.nodeid if item.nodeid in self._known else item.nodeid.split("::")[0]
        return self._order.get(name, len(self._order))


def tried(copy: Path, tests: list[str], known: Collection[str], limit: float, log: Path) -> str:
    """How the tests end on the copy of the package: survived, killed or timeout."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            os.setsid()
            out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(out, 1)
            os.dup2(out, 2)
            resource.setrlimit(resource.RLIMIT_CPU, (int(limit), int(limit) + 5))
            resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, resource.RLIM_INFINITY))
            sys.path.insert(0, str(copy))
            sys.dont_write_bytecode = True
            os.environ |= {
                "PYTHONPATH": str(copy),
                "PYTHONDONTWRITEBYTECODE": "1",
                "HYPOTHESIS_STORAGE_DIRECTORY": str(log.with_name("hypothesis")),
            }
            os.chdir(ROOT)
            files = sorted({name.split("::")[0] for name in tests})
            options = [
                *QUICK,
                "-x",
                "-p",
                "no:cov",
                "-W",
                "ignore::pytest.PytestAssertRewriteWarning",
                "--no-header",
                f"--basetemp={log.with_name('files')}",
            ]
            code = int(pytest.main([*options, *files], plugins=[Only(tests, known)]))
            package = sys.modules.get("mics")
            if package is not None and not str(package.__file__).startswith(str(copy)):
                code = 98
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    ends = time.monotonic() + 20 * limit
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() > ends:
            os.killpg(child, signal.SIGKILL)
        time.sleep(0.05)
    if os.WIFSIGNALED(status):
        return "timeout" if os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL) else "killed"
    code = os.WEXITSTATUS(status)
    if code == pytest.ExitCode.NO_TESTS_COLLECTED:
        return "survived"  # none reaches the line, and there is no new one
    if code in (pytest.ExitCode.INTERNAL_ERROR, 98, 99):
        raise RuntimeError(f"the tests did not run: exit code {code}, see {log}")
    return "killed" if code else "survived"


def trial(fault: Fault, reached: Reached, folder: Path, seconds: float) -> dict[str, str]:
    """Put a fault into the copy, try it, take it out again."""
    copy = folder / "src"
    tests, expected = reached.tests(fault, seconds)
    place = copy / fault.module
    begun = time.monotonic()
    outcome = "survived"
    if tests:
        was = place.stat()
        try:
            place.write_bytes(fault.mutated)
            os.utime(place, (was.st_atime, was.st_mtime + 10))  # another than that of the compiled file
            for part in _parts(fault, tests):
                if outcome == "survived":
                    outcome = tried(copy, part, reached.seconds, 60 + 10 * expected, folder / "trial.log")
        finally:
            place.write_bytes(fault.source)
            os.utime(place, (was.st_atime, was.st_mtime))
    return {
        "package": fault.module.split("/")[1],
        "module": fault.module,
        "line": str(fault.lines[0]),
        "start": str(fault.start),
        "end": str(fault.end),
        "kind": fault.kind,
        "before": fault.before,
        "after": fault.after,
        "outcome": outcome,
        "tests": str(len(tests)),
        "seconds": f"{time.monotonic() - begun:.1f}",
    }


def _parts(fault: Fault, tests: list[str]) -> Iterator[list[str]]:
    """First one file's tests, the module's own or the one with most, as every file that is collected costs; then the others."""
    counts = Counter(test.split("::")[0] for test in tests)
    name = f"test_{Path(fault.module).stem}.py"
    first = max(counts, key=lambda file: (Path(file).name == name, counts[file]))
    yield [test for test in tests if test.split("::")[0] == first]
    if len(counts) > 1:
        yield [test for test in tests if test.split("::")[0] != first]
