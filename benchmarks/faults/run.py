"""Commands are killed at random moments and started again: is anything lost, half-written, or other than undisturbed?

    python benchmarks/faults/run.py out/faults                          # every command, each signal, 20 times
    python benchmarks/faults/run.py out/faults --commands prepare train --times 3
    python benchmarks/faults/run.py out/faults --full                   # a disk that is full, instead of signals

On small phantoms. A command runs once undisturbed and its files are remembered. Then, each time in a new folder, it is killed by
SIGKILL or SIGTERM at a moment drawn over the undisturbed time, looked at, and started again until it ends by itself. What it
leaves is compared: volumes, arrays, weights, and JSON without times and dates; not tables, pictures and curves, which tell times.
``--full`` limits the size of a file (RLIMIT_FSIZE), as a quota does: the command must say so in a sentence and, started again
without the limit, leave the same files.

Every trial is one line of ``trials.csv``, which a second start goes on with; the table on the terminal is that of all trials.
"""

import argparse
import csv
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from safetensors.numpy import load_file

from mics.data.phantom import network_scanner, phantom
from mics.experiments.phantom_data import write_phantoms
from mics.image.io import write_image

PARTIAL = ".partial-"
"""In the names of what is not whole yet; it may be left behind by SIGKILL, and is no result."""
SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM}
LIMITS = (4_000, 40_000, 400_000)
"""Bytes that a file may have at most, in place of a full disk."""
TINY = ["spacing_mm=16", "epochs=2", "iterations_per_epoch=3", "workers=0"]
TRIALS = "trials.csv"
COLUMNS = ("command", "fault", "number", "after_s", "exit_code", "reported", "half_written", "starts", "same", "remark")


@dataclass(frozen=True)
class Command:
    """What is typed, without ``mics``; ``{data}`` and ``{out}`` are filled in."""

    typed: list[str]
    again: list[str] | None = None
    """What is typed to go on, where it is something else."""
    begun: str = ""
    """The file from which on ``again`` is what goes on."""
    anew: bool = False
    """Whether it begins anew, in a folder that must be empty, rather than goes on."""


SETTINGS = [part for setting in TINY for part in ("--set", setting)]
COMMANDS = {
    "register": Command(
        [
            "register",
            "{data}/fixed.nii.gz",
            "{data}/moving.nii.gz",
            "-o",
            "{out}",
            "--affine",
            "none",
            "--refine",
            "none",
        ]
        + ["--model", "mics-small"],
        anew=True,
    ),
    "prepare": Command(
        ["prepare", "learn2reg={data}/learn2reg", "-o", "{out}", "--spacing", "16", "--size", "24", "20", "32"]
        + ["--workers", "1"]
    ),
    "train": Command(
        ["train", "phantom-small", "--data", "phantom:5", "-o", "{out}", *SETTINGS],
        ["train", "--resume", "{out}"],
        "run.json",
    ),
    "compare": Command(["compare", "{data}/learn2reg", "-o", "{out}", "--methods", "unregistered,affine"]),
    "pipeline": Command(["pipeline", "{data}/plan.yaml", "-o", "{out}"]),
}


def main() -> None:
    """Go on with the trials, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--times", type=int, default=20, help="of each signal (default: %(default)s)")
    parser.add_argument("--full", action="store_true", help="a disk that is full, instead of signals")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    data = subjects(folder / "data")
    for name in arguments.commands:
        command, whole = COMMANDS[name], folder / "undisturbed" / name
        seconds = undisturbed(command, data, whole)
        faults = [("full", limit) for limit in range(len(LIMITS))] if arguments.full else []
        faults = faults or [(fault, number) for number in range(arguments.times) for fault in SIGNALS]
        for fault, number in faults:
            if (name, fault, str(number)) not in done(folder):
                trial(folder, name, fault, number, data, whole, seconds)
    print(table(folder))


def subjects(data: Path) -> Path:
    """Four subjects of 16 mm in the Learn2Reg layout, a pair of 8 mm, a plan of the pipeline."""
    if not (data / "plan.yaml").is_file():
        data.mkdir(parents=True, exist_ok=True)
        write_phantoms(data / "learn2reg")
        for seed, name in enumerate(("fixed", "moving")):
            write_image(phantom(seed, network_scanner(seed, 8.0)).image, data / f"{name}.nii.gz")
        plan = {"cohorts": {"learn2reg": "learn2reg"}, "workers": 1, "spacing_mm": 4, "size": [48, 40, 64]}
        plan |= {"segmentation": {"model": "organs-small"}, "finetune_cohort": "learn2reg"}
        plan |= {stage: {"recipe": "phantom-small", "set": TINY} for stage in ("pretrain", "finetune")}
        (data / "plan.yaml").write_text(yaml.safe_dump(plan))
    return data


def undisturbed(command: Command, data: Path, out: Path) -> float:
    """Run the command once, unless that is done; returns its seconds."""
    note = out.with_suffix(".seconds")
    if not note.is_file():
        shutil.rmtree(out, ignore_errors=True)
        began = time.monotonic()
        ended = start(command.typed, data, out).wait()
        if ended:
            raise SystemExit(f"The undisturbed command ended with {ended}: {log(out).read_text()[-2000:]}")
        note.write_text(str(time.monotonic() - began))
    return float(note.read_text())


def trial(folder: Path, name: str, fault: str, number: int, data: Path, whole: Path, seconds: float) -> None:
    """One fault, the restart, and a line of the table of trials."""
    command, out = COMMANDS[name], folder / "trials" / f"{name}-{fault}-{number}"
    shutil.rmtree(out, ignore_errors=True)
    log(out).unlink(missing_ok=True)
    after = random.Random(f"{name} {fault} {number}").uniform(0.05, 1) * seconds
    if fault == "full":
        limit = LIMITS[number]
        process = start(command.typed, data, out, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
        code = process.wait()
    else:
        process = start(command.typed, data, out)
        try:
            code = process.wait(timeout=after)
        except subprocess.TimeoutExpired:
            process.send_signal(SIGNALS[fault])
            code = process.wait()
    text = log(out).read_text(errors="replace")
    reported = "Traceback" not in text
    broken = half_written(out)
    starts, again = 1, 1
    while again and starts < 4:
        if command.anew and out.is_dir():
            shutil.rmtree(out)
        on = command.again if command.again and (out / command.begun).is_file() else command.typed
        again = start(on, data, out).wait()
        starts += 1
    differences = compare(whole, out) if not again else [f"the restart ended with {again}"]
    remark = "; ".join([*broken, *differences])[:300]
    line = (name, fault, number, f"{after:.1f}", code, reported, len(broken), starts, not differences, remark)
    path = folder / TRIALS
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if file.tell() == 0:
            writer.writerow(COLUMNS)
        writer.writerow(line)
    print(*line, sep="  ", flush=True)
    if reported and not broken and not differences:
        shutil.rmtree(out)


def start(typed: list[str], data: Path, out: Path, before: Callable[[], None] | None = None) -> subprocess.Popen[bytes]:
    """The command as a process; what it says goes to a file beside its folder."""
    out.parent.mkdir(parents=True, exist_ok=True)
    line = [sys.executable, "-m", "mics", *(part.format(data=data, out=out) for part in typed)]
    with log(out).open("ab") as file:
        return subprocess.Popen(line, stdout=file, stderr=subprocess.STDOUT, preexec_fn=before, env=dict(os.environ))


def log(out: Path) -> Path:
    """Where a command's words are kept."""
    return out.with_name(f"{out.name}.log")


def half_written(out: Path) -> list[str]:
    """Files under their final names that cannot be read to their end."""
    found = []
    for path in files(out):
        try:
            content(path, out)
        except Exception as error:
            found.append(f"{path.relative_to(out)} is broken ({type(error).__name__})")
    return found


def compare(whole: Path, out: Path) -> list[str]:
    """In what two folders differ, beside times, dates, logs and curves."""
    expected, found = ({path.relative_to(root): path for path in files(root)} for root in (whole, out))
    differences = [f"{path} is missing" for path in sorted(expected.keys() - found.keys())]
    differences += [f"{path} is more" for path in sorted(found.keys() - expected.keys())]
    for path in sorted(expected.keys() & found.keys()):
        if content(expected[path], whole) != content(found[path], out):
            differences.append(f"{path} differs")
    return differences


def files(out: Path) -> list[Path]:
    """The results in a folder: without what says when and how fast, and without unfinished files, which do not count."""
    without = {"curves", "tensorboard", "logs"}
    return [
        path
        for path in sorted(out.rglob("*"))
        if path.is_file()
        and not any(part in without or PARTIAL in part or part.startswith(".") for part in path.relative_to(out).parts)
        and path.suffix not in {".ckpt", ".html", ".png", ".md", ".csv", ".log"}
    ]


def content(path: Path, out: Path) -> object:
    """A file of ``out`` as what it holds, so that it is known to be whole; without seconds, dates, memory and folders."""
    if path.suffix == ".json" or path.name == "source.txt":
        return without_times(json.loads(path.read_text(encoding="utf-8").replace(str(out), "")))
    if path.suffix == ".npy":
        return hashlib.sha256(np.load(path).tobytes()).hexdigest()
    if path.suffix == ".safetensors":
        return {name: hashlib.sha256(tensor.tobytes()).hexdigest() for name, tensor in load_file(path).items()}
    if path.name.endswith(".nii.gz"):
        import SimpleITK as sitk

        return hashlib.sha256(sitk.GetArrayFromImage(sitk.ReadImage(str(path))).tobytes()).hexdigest()
    return hashlib.sha256(path.read_bytes()).hexdigest()


def without_times(value: object) -> object:
    """JSON without what differs between two runs of the same."""
    timed = {
        "seconds",
        "finished",
        "peak_memory_gb",
        "path",
        "output",
        "began",
        "date",
        "data",
        "initial",
        "memory_gb",
        "affine_seconds",
        "load_before",
        "files",
        "state",
    }
    if isinstance(value, dict):
        return {key: without_times(part) for key, part in value.items() if key not in timed}
    return [without_times(part) for part in value] if isinstance(value, list) else value


def done(folder: Path) -> set[tuple[str, str, str]]:
    """Trials that have their line."""
    return {(row["command"], row["fault"], row["number"]) for row in rows(folder)}


def rows(folder: Path) -> list[dict[str, str]]:
    """All trials."""
    path = folder / TRIALS
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def table(folder: Path) -> str:
    """All trials, by command and fault, as Markdown."""
    groups: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    for row in rows(folder):
        groups[row["command"], row["fault"]].append(row)
    lines = [
        "| command | fault | trials | traceback | half-written | same after restart |",
        "|---|---|---|---|---|---|",
    ]
    for (name, fault), trials in groups.items():
        traceback = sum(row["reported"] != "True" for row in trials)
        broken = sum(int(row["half_written"]) > 0 for row in trials)
        same = sum(row["same"] == "True" for row in trials)
        lines.append(f"| `{name}` | {fault} | {len(trials)} | {traceback} | {broken} | {same} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
