"""Faults put into the code, one at a time: do the tests notice?

    python benchmarks/mutation.py out/mutation                                   # 40 from each of the four packages
    python benchmarks/mutation.py out/mutation --packages losses --each 100
    python benchmarks/mutation.py out/mutation --again                           # those that survived, with today's tests
    python benchmarks/mutation.py out/mutation --again --also tests/network/test_mics.py   # and these

A module is drawn by its lines and one of its possible faults evenly, from a seed: another arithmetic operator, comparison or
boolean, a number one more or less, a condition turned round, None returned, a statement left out. Not drawn: annotations,
decorators, what an error says, ``__repr__``, and zip's ``strict``.

The quick tests of the packages run once, under coverage. A fault is then tried in a copy of the package, by the tests that
reach its line (of a line that runs at import: the module), the shortest first until they take ``--seconds`` together, and by
those that are new in the module's own file. A fault is killed where one of them fails, or takes more than ten times as long as
all of them should. Libraries are imported once, and each trial is a fork: only on Linux.

Every trial is one line of ``trials.csv``, which a second start goes on with, one at a time in a folder. Delete
``coverage.sqlite`` when tests have changed.
"""

import argparse
import ast
import compileall
import csv
import difflib
import functools
import importlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
import xml.etree.ElementTree
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from coverage import CoverageData

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("deformation", "losses", "evaluation", "image")
QUICK = ["-q", "-p", "no:cacheprovider", "-m", "not nightly and not slow"]
LIBRARIES = (
    *("torch", "torch.distributed.tensor", "scipy.ndimage", "scipy.spatial.transform", "SimpleITK", "nibabel"),
    *("pydantic", "pydicom", "hypothesis.extra.numpy", "yaml", "typer.testing"),
)
"""Imported before the forks, each with what it needs; ``torch.testing`` takes the second of them when it is first used."""
COLUMNS = ("package", "module", "line", "start", "end", "kind", "before", "after", "outcome", "tests", "seconds")
MEMORY = 8 << 30
SWAPS: dict[type, type] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
PASSED_OVER = {"annotation", "returns", "decorator_list", "exc", "pattern"}
"""Fields of a node in which no fault is put; exc: what an error says."""


@dataclass(frozen=True)
class Fault:
    """One change of one module: these bytes of its source, replaced."""

    module: str
    """Path below ``src``."""
    start: int
    end: int
    after: str
    kind: str
    lines: tuple[int, int]
    """Of the statement, first and last; the header alone of one that has a body."""
    at_import: bool

    @property
    def source(self) -> bytes:
        """The module as it is."""
        return (ROOT / "src" / self.module).read_bytes()

    @property
    def before(self) -> str:
        """What is replaced."""
        return self.source[self.start : self.end].decode()

    @property
    def mutated(self) -> bytes:
        """The module with the fault."""
        source = self.source
        return source[: self.start] + self.after.encode() + source[self.end :]

    def diff(self) -> str:
        """The changed lines."""
        old, new = self.source.decode().splitlines(), self.mutated.decode().splitlines()
        changed = list(difflib.unified_diff(old, new, n=0, lineterm=""))[2:]
        return "\n".join([f"{self.module} ({self.kind})", *changed])


def changes(node: ast.AST) -> Iterator[tuple[str, ast.expr | ast.stmt, str]]:
    """Faults of one node: the kind, the part that is replaced, and by what."""
    match node:
        case ast.BinOp(left, op, right) if type(op) in SWAPS:
            yield "arithmetic", node, _text(ast.BinOp(left, SWAPS[type(op)](), right))
        case ast.AugAssign(target, op, value) if type(op) in SWAPS:
            yield "arithmetic", node, ast.unparse(ast.AugAssign(target, SWAPS[type(op)](), value))
        case ast.Compare(left, ops, rights):
            for place, compared in enumerate(ops):
                swapped = [*ops[:place], SWAPS[type(compared)](), *ops[place + 1 :]]
                yield "comparison", node, _text(ast.Compare(left, swapped, rights))
        case ast.BoolOp(op, values):
            yield "boolean", node, _text(ast.BoolOp(SWAPS[type(op)](), values))
        case ast.UnaryOp(ast.Not() | ast.USub(), operand):
            yield "sign", node, _text(operand)
        case ast.Constant(bool(value)):
            yield "constant", node, str(not value)
        case ast.Constant(int(value) | float(value)):
            yield "constant", node, _text(ast.Constant(value + 1))
            yield "constant", node, _text(ast.Constant(value - 1))
        case ast.Return(ast.expr() as value) if not (isinstance(value, ast.Constant) and value.value is None):
            yield "return", node, "return None"
        case ast.Expr(ast.Call()) | ast.Raise() | ast.Break() | ast.Continue():
            yield "statement", node, "pass"
        case ast.Assign([ast.Attribute() | ast.Subscript()]):
            yield "statement", node, "pass"
    for condition in [node.test] if isinstance(node, ast.If | ast.While | ast.IfExp) else getattr(node, "ifs", []):
        match condition:
            case ast.UnaryOp(ast.Not()) | ast.Compare(
                _, [ast.Eq() | ast.NotEq() | ast.Is() | ast.IsNot() | ast.In() | ast.NotIn()]
            ):
                pass  # a fault of its own already
            case _:
                yield "condition", condition, _text(ast.UnaryOp(ast.Not(), condition))


def _text(node: ast.expr) -> str:
    return f"({ast.unparse(ast.fix_missing_locations(node))})"


@functools.cache
def faults(module: str) -> tuple[Fault, ...]:
    """All faults that can be put into a module, by their place."""
    source = (ROOT / "src" / module).read_bytes()
    begins = [0]
    for line in source.splitlines(keepends=True):
        begins.append(begins[-1] + len(line))

    def inside(node: ast.AST, lines: tuple[int, int], at_import: bool) -> Iterator[Fault]:
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None)
            last = max(node.lineno, body[0].lineno - 1) if body else node.end_lineno
            lines = (node.lineno, last or node.lineno)
        for kind, part, after in changes(node):
            start = begins[part.lineno - 1] + part.col_offset
            end = begins[(part.end_lineno or part.lineno) - 1] + (part.end_col_offset or 0)
            yield Fault(module, start, end, after, kind, lines, at_import)
        for name, field in ast.iter_fields(node):
            if name in PASSED_OVER:
                continue
            runs_later = isinstance(node, ast.FunctionDef | ast.Lambda) and name == "body"
            for child in field if isinstance(field, list) else [field]:
                if isinstance(child, ast.AST) and not _passed_over(child, at_import):
                    yield from inside(child, lines, at_import and not runs_later)

    found = inside(ast.parse(source), (1, 1), True)
    return tuple(sorted(set(found), key=lambda fault: (fault.start, fault.end, fault.after)))


def _passed_over(node: ast.AST, at_import: bool) -> bool:
    match node:
        case ast.JoinedStr() | ast.keyword("strict"):
            return True
        case ast.If(ast.Name("TYPE_CHECKING")) | ast.FunctionDef("__repr__"):
            return True
        case ast.BinOp(_, ast.BitOr(), _):
            return at_import  # the name of a type
    return False


def sample(package: str, count: int, seed: int) -> list[Fault]:
    """Faults of a package, in the order in which they are drawn; a larger count goes on with the same ones."""
    draw = random.Random(f"{seed} {package}")
    paths = sorted((ROOT / "src" / "mics" / package).glob("*.py"))
    names = [str(path.relative_to(ROOT / "src")) for path in paths]
    rest = {name: list(faults(name)) for name in names}
    lines = [len(path.read_text(encoding="utf-8").splitlines()) for path in paths]
    chosen: list[Fault] = []
    while len(chosen) < min(count, sum(len(faults(name)) for name in names)):
        name = draw.choices(names, lines)[0]
        if rest[name]:
            chosen.append(rest[name].pop(draw.randrange(len(rest[name]))))
    return chosen


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


def key(row: dict[str, str]) -> tuple[str, ...]:
    """By what a fault is known again."""
    return tuple(row[name] for name in ("module", "start", "end", "after"))


def table(rows: list[dict[str, str]]) -> str:
    """Counts by package, in Markdown."""
    lines = ["| package | faults | killed | of these by time | survived | killed, % |", "|---|---|---|---|---|---|"]
    for package in [*dict.fromkeys(row["package"] for row in rows), "all"]:
        found = Counter(row["outcome"] for row in rows if package in (row["package"], "all"))
        total, lived = found.total(), found["survived"]
        share = 100 * (total - lived) / max(total, 1)
        lines.append(f"| `{package}` | {total} | {total - lived} | {found['timeout']} | {lived} | {share:.0f} |")
    return "\n".join(lines)


def main() -> None:
    """Draw, try, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--packages", nargs="+", choices=PACKAGES, default=PACKAGES)
    parser.add_argument("--each", type=int, default=40, help="faults of each package")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=20, help="what the tests of one fault may take")
    parser.add_argument("--tests", nargs="+", default=[f"tests/{name}" for name in PACKAGES], help="which are run")
    parser.add_argument(
        "--also", nargs="+", default=[], metavar="FILE", help="files of tests that are run for each fault"
    )
    parser.add_argument("--again", action="store_true", help="try once more what survived")
    given = parser.parse_args()
    folder = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [fault for package in given.packages for fault in sample(package, given.each, given.seed)]
    reached = Reached(folder, given.tests, given.also)
    shutil.rmtree(folder / "src", ignore_errors=True)
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    compileall.compile_dir(folder / "src", quiet=1)
    for library in LIBRARIES:
        importlib.import_module(library)

    trials = folder / "trials.csv"
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    if trials.exists():
        with trials.open(newline="", encoding="utf-8") as file:
            rows = {key(row): row for row in csv.DictReader(file)}  # of two trials of one fault, the later
    fresh = not trials.exists()
    with trials.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if fresh:
            writer.writeheader()
        for number, fault in enumerate(drawn, 1):
            known = rows.get((fault.module, str(fault.start), str(fault.end), fault.after))
            if known is None or (given.again and known["outcome"] == "survived"):
                row = trial(fault, reached, folder, given.seconds)
                writer.writerow(row)
                file.flush()
                rows[key(row)] = row
                print(
                    f"{number}/{len(drawn)} {row['outcome']} in {row['seconds']} s", fault.diff(), sep="\n", flush=True
                )

    counted = [rows[fault.module, str(fault.start), str(fault.end), fault.after] for fault in drawn]
    for fault, row in zip(drawn, counted, strict=True):
        if row["outcome"] == "survived":
            print("", f"survived {row['tests']} tests or files:", fault.diff(), sep="\n")
    print("", table(counted), sep="\n")


if __name__ == "__main__":
    main()
