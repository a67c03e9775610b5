"""Seconds and memory of one training step, against the same network trained the plain way.

    python benchmarks/training_step.py                                      # 16-32-64-128 channels, for a CPU
    python benchmarks/training_step.py --channels 64 128 256 512 --batch 2  # the paper's network and batch, for a GPU
    python benchmarks/training_step.py --channels 64 128 256 512 --batch 2 --count   # its operations, counted

The plain way encodes both volumes again in every direction and at every step, in float32 and the framework's default memory
format, with its instance normalisation and leaky ReLU, and warps every organ map by itself; its loss is the same
(tests/training/test_plain_way.py).
Ours runs as `mics train` does. Every variant has a process of its own in each of ``--repeat`` rounds, and its second step
counts; printed are medians over the rounds, and of the ratios within each. Memory is what the steps add to the process, on a
GPU what they allocate.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mics.allocator import keep_freed_memory
from mics.deformation.field import compose, resize_displacement, warp
from mics.losses.overlap import annotated_in_both
from mics.losses.paper import Direction
from mics.losses.total import LOSSES, Volumes, weighted_sum
from mics.network import blocks
from mics.network.mics import MICS, MICSConfig
from mics.network.presets import PRESETS

VARIANTS = ("plain", "float32", "bfloat16", "recomputed", "bfloat16-recomputed", "compiled")
"""``plain`` as above; the others are ours: in float32 or, as compiled, in bfloat16, with activations computed again or not."""


def plain_blocks(network: nn.Module) -> None:
    """Let every convolution block of a network do what its docstring says, layer by layer."""
    for block in network.modules():
        if isinstance(block, blocks.ConvBlock):
            layers: list[nn.Module] = [
                block[0],
                *([nn.InstanceNorm3d(1)] if block.normalise else []),
                nn.LeakyReLU(blocks.SLOPE),
            ]
            block.forward = nn.Sequential(*layers).forward  # type: ignore[method-assign]


def plain_loss(network: MICS, a: Volumes, b: Volumes, steps: int, weights: Mapping[str, float]) -> Tensor:
    """The weighted loss over both directions and all steps, every part of it computed where it is needed."""
    pairs = ((a, b), (b, a))
    totals: list[Tensor | None] = [None, None]
    loss = torch.zeros((), device=a.windows.device)
    for _ in range(steps):
        gradients, fields = [], []
        for (moving, fixed), total in zip(pairs, totals, strict=True):
            shape = moving.windows.shape[2:]
            still = torch.zeros_like(moving.windows[:, :3])
            so_far = still if total is None else resize_displacement(total, shape)
            moved, target = network.encoder(warp(moving.windows, so_far)), network.encoder(warp(fixed.windows, still))
            gradient, field = network.decode([m - t for m, t in zip(moved, target, strict=True)])
            gradients.append(gradient)
            fields.append(field if total is None else compose(field, total))
        totals = list(fields)
        for direction, pair in enumerate(pairs):
            grid, field = fields[direction].shape[2:], fields[direction]
            moving, fixed = (volumes.resized(tuple(grid)) for volumes in pair)
            assert moving.organs is not None
            assert fixed.organs is not None
            one_direction = Direction(
                warped=warp(moving.windows, field),
                target=fixed.windows,
                gradients=gradients[direction],
                displacement=field,
                opposite=fields[1 - direction],
                warped_organs=torch.cat(
                    [warp(organ, field, padding="zeros") for organ in moving.organs.split(1, 1)], 1
                ),
                target_organs=fixed.organs,
                annotated=annotated_in_both(moving.organs, fixed.organs),
            )
            terms = {name: LOSSES[name](one_direction) for name in weights}
            loss = loss + weighted_sum(terms, weights)
    return loss


def measure(variant: str, config: MICSConfig, size: int, batch: int, steps: int) -> dict[str, float]:
    """Seconds and gigabytes of the second optimiser step on random volumes with blocks for organs."""
    from mics.training.recipe import Recipe
    from mics.training.registration import RegistrationTraining

    if variant != "plain":
        keep_freed_memory()  # as the command does
    PRESETS.register("benchmark", config)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    settings = {"task": "registration", "preset": "benchmark", "epochs": 1, "iterations_per_epoch": 1, "steps": steps}
    recipe = Recipe.model_validate({**settings, "recompute_activations": "recomputed" in variant})
    torch.manual_seed(0)
    module = RegistrationTraining(recipe).to(device)
    if variant == "plain":
        plain_blocks(module.network)
        blocks.to_channels_last = lambda volume: volume
    if variant == "compiled":
        module.network.encoder.compile()
        module.network.decoder.compile()
    hu = torch.randint(-200, 300, (batch, 2, 1, size, size, size), device=device).float()
    labels = torch.arange(size, device=device).mul(14).div(size).to(torch.uint8).expand_as(hu).contiguous()
    sample = {"hu": hu, "labels": labels}
    optimiser = torch.optim.Adam(module.network.parameters(), lr=1e-4)

    def step() -> None:
        optimiser.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=variant not in ("plain", "float32", "recomputed")):
            if variant == "plain":
                a, b = module.volumes(sample, 0), module.volumes(sample, 1)
                loss = plain_loss(module.network, a, b, steps, recipe.losses)
            else:
                loss = module.loss(sample)[0]
        loss.backward()
        optimiser.step()
        loss.item()

    before = _memory(device)
    step()
    start = time.perf_counter()
    step()
    return {"seconds": time.perf_counter() - start, "gigabytes": _memory(device) - before}


def teraflop(config: MICSConfig, size: int, batch: int, steps: int) -> float:
    """Operations of the network's convolutions in one training step, forward and backward, in 10¹²."""
    # Counted on a few voxels: the number is proportional to them.
    network, few = MICS(config), 2 * config.divisor
    a, b = torch.rand(2, batch, 3, few, few, few)
    with FlopCounterMode(display=False) as counter:
        network(a, b, steps=steps).steps[-1].displacement.sum().backward()
    return counter.get_total_flops() / 1e12 * (size / few) ** 3


def _memory(device: str) -> float:
    """Peak so far in GB."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main() -> None:
    """Every variant with one and with two steps, as a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, nargs="+", default=[16, 32, 64, 128])
    parser.add_argument("--size", type=int, default=128, help="voxels along each axis")
    parser.add_argument("--batch", type=int, default=1, help="pairs")
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=VARIANTS)
    parser.add_argument("--repeat", type=int, default=3, help="rounds")
    parser.add_argument("--count", action="store_true", help="count operations instead")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    config = MICSConfig(channels=tuple(arguments.channels))
    if arguments.count:
        for steps in arguments.steps:
            print(f"steps: {steps}, {teraflop(config, arguments.size, arguments.batch, steps):.1f} TFLOP")
        return
    if arguments.one:
        variant, steps = arguments.variants[0], arguments.steps[0]
        print(json.dumps(measure(variant, config, arguments.size, arguments.batch, steps)))
        return
    print("| steps | variant | seconds | faster | memory, GB | share |\n|---|---|---|---|---|---|")
    for steps in arguments.steps:
        # Round by round, so that what else the machine does meets all variants alike.
        rounds = [
            {variant: _in_process(variant, steps, arguments) for variant in arguments.variants}
            for _ in range(arguments.repeat)
        ]
        for variant in arguments.variants:
            print(_row(steps, variant, rounds), flush=True)


def _in_process(variant: str, steps: int, arguments: argparse.Namespace) -> dict[str, float] | str:
    """What :func:`measure` finds in a process of its own, or the last line of its error."""
    command = [sys.executable, str(Path(__file__)), "--one", "--variants", variant, "--steps", str(steps)]
    command += [
        "--channels",
        *map(str, arguments.channels),
        "--size",
        str(arguments.size),
        "--batch",
        str(arguments.batch),
    ]
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode:
        return (ended.stderr.splitlines() or ["killed"])[-1]
    found: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return found


def _row(steps: int, variant: str, rounds: list[dict[str, dict[str, float] | str]]) -> str:
    """Medians over the rounds, and of the ratio to the plain way within each."""
    found = [numbers for numbers in (each[variant] for each in rounds) if not isinstance(numbers, str)]
    if len(found) < len(rounds):
        return f"| {steps} | {variant} | failed: {next(each[variant] for each in rounds if isinstance(each[variant], str))} |"
    seconds, memory = (statistics.median(numbers[key] for numbers in found) for key in ("seconds", "gigabytes"))
    plain = [numbers for numbers in (each.get("plain") for each in rounds) if isinstance(numbers, dict)]
    ratios = [
        (reference["seconds"] / numbers["seconds"], numbers["gigabytes"] / reference["gigabytes"])
        for reference, numbers in zip(plain, found, strict=False)
    ]
    faster, share = (
        (f"{statistics.median(r[0] for r in ratios):.2f}×", f"{statistics.median(r[1] for r in ratios):.2f}")
        if len(ratios) == len(rounds)
        else ("", "")
    )
    return f"| {steps} | {variant} | {seconds:.1f} | {faster} | {memory:.1f} | {share} |"


if __name__ == "__main__":
    main()
