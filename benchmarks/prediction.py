"""What a registration network costs of a whole pair, two steps, both directions: call by call, and as one compiled call.

    python benchmarks/prediction.py                                              # the shipped network
    python benchmarks/prediction.py --preset paper --spacing 2 --variants plain  # the paper's, on 192×160×256 voxels

The pair are two phantoms on the grid of Learn2Reg's 192×160×256 voxels of 2 mm, at the network's spacing, with their labels for
organ maps; the weights of a preset are random. Every variant has a process of its own, and its first call counts apart from
``--repeat`` others, whose median is printed. Memory is the peak of the process, on a GPU that of the GPU. ``differs``: the mean
and the largest distance from the plain variant's displacements, in voxels of the result (about 4 mm).
"""

import argparse
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from mics.allocator import keep_freed_memory
from mics.data.phantom import phantom
from mics.data.phantom.scanner import network_grid
from mics.image.intensity import hu_windows
from mics.network.card import ModelCard
from mics.network.displacements import compiled, displacements
from mics.network.kinds import build
from mics.network.presets import PRESETS
from mics.network.weights import DEFAULT_REGISTRATION, LoadedModel, load_model
from mics.organs import ORGAN_NAMES
from mics.registration.timing import peak_memory_gb

VARIANTS = ("plain", "compiled")


def loaded(arguments: argparse.Namespace) -> LoadedModel:
    """The model asked for, or the preset with random weights."""
    if arguments.preset is None:
        return load_model(arguments.model)
    torch.manual_seed(0)
    config = PRESETS[arguments.preset]
    card = ModelCard(network=config, sha256="", spacing_mm=arguments.spacing, hu_range=None)
    return LoadedModel(build(config).eval(), arguments.preset, card)


def seen(model: LoadedModel, seed: int) -> Tensor:
    """What the network sees of a phantom."""
    scan = phantom(seed, network_grid(model.spacing_mm))
    hu, labels = (torch.from_numpy(np.ascontiguousarray(image.array))[None] for image in (scan.image, scan.labels))
    maps = torch.stack([labels == organ for organ in ORGAN_NAMES], dim=1).float()
    return model.network.network_input(hu_windows(hu[None].float(), model.hu_range), maps)


def measure(variant: str, arguments: argparse.Namespace) -> None:
    """Print a row, and keep the displacements beside those of the other variant."""
    keep_freed_memory()  # as the command does
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = loaded(arguments)
    model.network.to(device)
    a, b = (volume.to(device) for volume in torch.load(arguments.folder / "pair"))
    call = (
        compiled(model, steps=arguments.steps)
        if variant == "compiled"
        else partial(displacements, model, steps=arguments.steps)
    )
    seconds = []
    for _ in range(1 + arguments.repeat):
        began = time.perf_counter()
        found = torch.cat([way.cpu() for way in call(a, b)])  # a GPU is done when its results are here
        seconds.append(time.perf_counter() - began)
    memory = peak_memory_gb(device)
    results = sorted(arguments.folder.glob("*.pt"))
    differs = "–"
    if results:
        distance = (found - torch.load(results[0])).square().sum(dim=1).sqrt()
        differs = f"{distance.mean():.4f}, {distance.max():.3f}"
    torch.save(found, arguments.folder / f"{variant}.pt")
    median = statistics.median(seconds[1:])
    peak = memory["process"] if memory["gpu"] is None else memory["gpu"]
    print(f"| {variant} | {seconds[0]:.1f} | {median:.2f} | {peak} | {differs} |", flush=True)


def main() -> None:
    """A line a variant, the plain one first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--model", default=DEFAULT_REGISTRATION, help="shipped name or file (default: %(default)s)")
    which.add_argument("--preset", choices=[name for name, own in PRESETS.items() if own.task == "registration"])
    parser.add_argument("--spacing", type=float, default=8, help="voxel edge in mm of a preset (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=5, help="calls after the first (default: %(default)s)")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=VARIANTS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.folder is not None:
        measure(arguments.variants[0], arguments)
        return
    print("| variant | first call, s | others, s | memory, GB | differs, voxels |\n|---|---|---|---|---|", flush=True)
    with TemporaryDirectory() as folder:
        model = loaded(arguments)
        torch.save([seen(model, seed) for seed in (0, 1)], Path(folder) / "pair")
        for variant in arguments.variants:
            own = ["--folder", folder, "--variants", variant]
            subprocess.run([sys.executable, __file__, *sys.argv[1:], *own], check=True)


if __name__ == "__main__":
    main()
