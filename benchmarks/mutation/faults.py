"""Faults that can be put into the code, one at a time, and a sample of them."""

import ast
import difflib
import functools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
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
