"""What `mics register` costs from start to end, stage by stage: seconds of the clock, and of the processor.

    python benchmarks/command.py fixed.nii.gz moving.nii.gz --fixed-labels f.nii.gz --moving-labels m.nii.gz
    python benchmarks/command.py fixed.nii.gz moving.nii.gz --against ../other/src    # and another state of the code, in turn

Every run is a process of its own, as the command is; printed are medians over ``--repeat`` runs. Stages are those that the
command tells of; "start" is what comes before the first, the interpreter and the libraries, "end" what comes after the last. On a
busy machine only the processor's seconds say something, and of those only what was measured in turn.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import mics

Costs = dict[str, tuple[float, float]]

PASSED = ("fixed-labels", "moving-labels", "refine", "device")


def run(arguments: argparse.Namespace) -> None:
    """The command, in this process; prints when each stage began, by the clock and by the processor, as JSON."""
    from mics.cli import register
    from mics.cli.main import main as command

    began = []

    @contextmanager
    def noted() -> Iterator[Callable[[str], None]]:
        def note(stage: str) -> None:
            began.append((stage, time.time(), time.process_time()))

        yield note
        note("end")

    register.progress = noted
    options = {name: getattr(arguments, name.replace("-", "_")) for name in PASSED}
    reported = [str(part) for name, value in options.items() if value is not None for part in (f"--{name}", value)]
    with TemporaryDirectory() as folder:
        sys.argv = ["mics", "register", str(arguments.fixed), str(arguments.moving), "-o", f"{folder}/out", *reported]
        try:
            command()
        finally:
            print(json.dumps(began))


def measured(source: Path, own: list[str]) -> tuple[Costs, float]:
    """One command with the package in ``source``: each stage's seconds, by clock and processor, and peak memory in GB."""
    code = f"import runpy, sys; sys.path.insert(0, {str(source)!r}); runpy.run_path({__file__!r}, run_name='__main__')"
    began = time.time()
    with subprocess.Popen([sys.executable, "-c", code, *own, "--once"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        reported = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(process.returncode)
    ended, processor = time.time(), used.ru_utime + used.ru_stime
    moments = [("start", began, 0.0), *json.loads(reported.splitlines()[-1]), ("", ended, processor)]
    costs = {stage: (then - at, more - spent) for (stage, at, spent), (_, then, more) in pairwise(moments)}
    return {**costs, "total": (ended - began, processor)}, used.ru_maxrss / 1e6


def main() -> None:
    """A line a stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fixed", type=Path)
    parser.add_argument("moving", type=Path)
    parser.add_argument("--fixed-labels", type=Path)
    parser.add_argument("--moving-labels", type=Path)
    parser.add_argument("--refine", default="none", help="as of the command (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="as of the command (default: %(default)s)")
    parser.add_argument("--repeat", type=int, default=5, help="runs of each (default: %(default)s)")
    parser.add_argument("--against", type=Path, nargs="+", default=[], help="src folders of other states of the code")
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.once:
        run(arguments)
        return
    for source in arguments.against:
        if not (source / "mics").is_dir():
            parser.error(f"{source} holds no package mics: give the src folder of a checkout")
    sources = [*arguments.against, Path(mics.__file__).parents[1]]
    runs: list[list[Costs]] = [[] for _ in sources]
    peaks: list[list[float]] = [[] for _ in sources]
    for _ in range(arguments.repeat):
        for source, costs, memory in zip(sources, runs, peaks, strict=True):
            cost, peak = measured(source, sys.argv[1:])
            print(f"{source}: {cost['total'][0]:.1f} s ({cost['total'][1]:.1f} s)", file=sys.stderr, flush=True)
            costs.append(cost)
            memory.append(peak)
    for source in sources:
        print(f"- {source}")
    print(f"\n| seconds by clock (by processor) |{' |' * len(sources)}\n|---|{'---|' * len(sources)}")
    for stage in runs[-1][0]:
        cells = []
        for costs in runs:
            clock, processor = (statistics.median(cost[stage][which] for cost in costs) for which in range(2))
            cells.append(f"{clock:.2f} ({processor:.2f})")
        print(f"| {stage} | {' | '.join(cells)} |")
    print(f"| memory, GB | {' | '.join(f'{statistics.median(memory):.2f}' for memory in peaks)} |")


if __name__ == "__main__":
    main()
