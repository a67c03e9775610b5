"""How much memory `mics register` takes, against what is predicted before it starts, for scans of given sizes.

    python benchmarks/memory.py 32 128 256 512x512x200 512x512x700
    python benchmarks/memory.py 32 --repeats 200      # in one process: how much it grows
    python benchmarks/memory.py 32 64 --train finetune --set spacing_mm=4    # of `mics train`, for crops of these sizes

The scans are two phantoms of 384 x 384 x 560 mm, whole numbers as CT has them, in as many voxels as asked for. Every size is
registered by the command in a process of its own; its peak is what the system has counted (ru_maxrss). A training makes two
iterations and a validation, on phantoms; what is predicted is what a process has with its libraries, and what the training adds.
"""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from mics.data.phantom import phantom
from mics.image.grid import Grid
from mics.image.hu import AIR_HU
from mics.image.io import Image, write_image
from mics.image.resample import resample
from mics.registration.memory import estimate
from mics.registration.registrar import Registrar
from mics.registration.settings import resolve

Size = tuple[int, int, int]
EXTENT_MM = (384.0, 384.0, 560.0)
PART_MM = (384.0, 288.0, 224.0)
"""A part of it for registrations that are repeated, which it makes quicker."""
DRAWN = (96, 96, 140)
TRAINED = 2  # iterations: in the second the optimiser has all its numbers
WARM = 5  # registrations after which the libraries have all they keep


def grid(size: Size, extent_mm: tuple[float, float, float] = EXTENT_MM) -> Grid:
    """A field of view in so many voxels."""
    x, y, z = (extent / count for extent, count in zip(extent_mm, size, strict=True))
    return Grid(size, (x, y, z), (x / 2, y / 2, z / 2))


def drawn() -> list[Image]:
    """Two subjects, on coarse voxels."""
    return [phantom(seed, grid(DRAWN)).image for seed in (0, 1)]


def on(image: Image, size: Size, extent_mm: tuple[float, float, float] = EXTENT_MM) -> Image:
    """A scan in so many voxels, as CT is stored."""
    finer = resample(image, grid(size, extent_mm), outside=AIR_HU)
    return Image(np.rint(finer.array).astype(np.int16), finer.grid)


def measured(subjects: list[Image], size: Size, options: list[str]) -> float:
    """Peak memory of the command in bytes."""
    with TemporaryDirectory() as folder:
        files = [Path(folder) / f"{name}.nii" for name in ("fixed", "moving")]
        for subject, file in zip(subjects, files, strict=True):
            write_image(on(subject, size), file)
        return peak(["register", *map(str, files), "-o", f"{folder}/out", "-q", *options])


def peak(arguments: list[str]) -> float:
    """Peak memory of a command in bytes, in a process of its own."""
    with subprocess.Popen([sys.executable, "-m", "mics", *arguments]) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(process.returncode)
    return used.ru_maxrss * 1024.0


def trained(recipe: str, size: Size, settings: list[str]) -> tuple[float, float]:
    """Bytes that a short training with crops of this size is predicted to take, and takes."""
    from mics.training.cache import read_cases
    from mics.training.datamodule import Cases
    from mics.training.memory import estimate
    from mics.training.recipe import load_recipe
    from mics.training.start import start  # noqa: F401  # for its libraries

    libraries = resident_bytes()
    short = [*settings, f"crop={list(size)}", "epochs=1", f"iterations_per_epoch={TRAINED}", "workers=0"]
    with TemporaryDirectory() as folder:
        run, data = f"{folder}/run", ["--data", "phantom:5"]
        taken = peak(["train", recipe, *data, "-o", run, "-q", *(part for one in short for part in ("--set", one))])
        need = estimate(Cases(read_cases(Path(run) / "cases"), load_recipe(recipe, short)))
    return (float("nan") if need is None else libraries + need), taken


def resident_bytes() -> float:
    """What this process holds in memory now, as Linux tells."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return float(pages * os.sysconf("SC_PAGE_SIZE"))


def grown(subjects: list[Image], size: Size, repeats: int, refine: str) -> None:
    """Print what one process holds while it registers a part of the same pair again and again."""
    registrar = Registrar(refine=refine)
    scans = [on(subject, size, PART_MM) for subject in subjects]
    held = []
    for turn in range(1, repeats + 1):
        registrar(*scans)
        held.append(resident_bytes() / 1e9)
        if turn in (1, WARM) or turn % 10 == 0:
            print(f"after {turn} registrations: {held[-1]:.3f} GB", flush=True)
    if repeats > WARM:
        print(f"growth from {WARM} to {repeats}: {100 * (held[-1] / held[WARM - 1] - 1):.1f} %")


def main() -> None:
    """A line a size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="+", help="512x512x200, or 128 for a cube")
    parser.add_argument("--refine", default="fast", help="as of the command (default: %(default)s)")
    parser.add_argument("--topology", default="free", help="as of the command (default: %(default)s)")
    parser.add_argument(
        "--train", metavar="RECIPE", help="a training with crops of these sizes, in place of registrations"
    )
    parser.add_argument(
        "--set", action="append", default=[], help="a setting of the recipe, KEY=VALUE; as often as wanted"
    )
    parser.add_argument("--repeats", type=int, help="registrations in one process, in place of commands")
    arguments = parser.parse_args()
    subjects = drawn()
    sizes = []
    for text in arguments.sizes:
        if not re.fullmatch(r"\d+(x\d+x\d+)?", text):
            parser.error(f"{text} is no size: give 512x512x200, or 128 for a cube")
        x, y, z = (int(n) for n in (text if "x" in text else "x".join([text] * 3)).split("x"))
        sizes.append((x, y, z))
    if arguments.repeats is not None:
        for size in sizes:
            grown(subjects, size, arguments.repeats, arguments.refine)
        return
    print("| voxels | predicted, GB | measured, GB | predicted / measured |\n|---|---|---|---|", flush=True)
    for size in sizes:
        predicted, taken = (
            trained(arguments.train, size, arguments.set) if arguments.train else registered(subjects, size, arguments)
        )
        print(
            f"| {'×'.join(map(str, size))} | {predicted / 1e9:.2f} | {taken / 1e9:.2f} | {predicted / taken:.2f} |",
            flush=True,
        )


def registered(subjects: list[Image], size: Size, arguments: argparse.Namespace) -> tuple[float, float]:
    """Bytes that a registration is predicted to take, and takes."""
    settings = resolve(
        affine="organs",
        steps=None,
        model="mics-velocity",
        refine=arguments.refine,
        topology=arguments.topology,
        device="cpu",
    )
    options = ["--refine", arguments.refine, "--topology", arguments.topology, "--device", "cpu"]
    predicted = estimate(settings, fixed=grid(size), moving=grid(size)).host
    return predicted, measured(subjects, size, options)


if __name__ == "__main__":
    main()
