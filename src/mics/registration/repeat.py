"""A registration once more, exactly as its summary says: the scans are given again, everything else is in the summary."""

import filecmp
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Unpack

import numpy as np
from numpy.typing import NDArray

from mics.errors import InputError, SettingError
from mics.image.grid import Grid
from mics.network.weights import DEFAULT_REGISTRATION, LoadedModel, available_models
from mics.registration.checksums import KINDS, environment, pair_checksums
from mics.registration.inputs import PairArguments, Source
from mics.registration.registrar import PairInputs, Registrar
from mics.registration.result import Registration
from mics.registration.steering import LANDMARKS
from mics.run_summary import SCHEMA_VERSION, RunSummary, read_summary
from mics.summary_parts import GridSummary, InputSummary, ModelSummary

_COMPUTED = ("organs", "ants", "none")
"""Affines that the summary alone says everything of."""
_ROLES = ("fixed", "moving")
_WHAT = {
    "voxels": "scan",
    "labels": "label map",
    "exclude": "mask of what to leave out",
    "lesions": "lesion map",
    "landmarks": "landmarks",
}


def repeat(
    summary: str | Path,
    fixed: Source,
    moving: Source,
    *,
    affine: str | Path | NDArray[np.floating] | None = None,
    model: str | Path | LoadedModel | None = None,
    progress: Callable[[str], None] | None = None,
    **given: Unpack[PairArguments],
) -> Registration:
    """Register two scans with all settings of an earlier registration; on the same machine the result has the same bytes.

    A summary knows its scans by checksums and no folder of them, so they are given once more, with the label maps, masks and
    landmarks that were given then. Warns, in a sentence each, of another version of MICS, and of other libraries, threads or
    processors, which change the last digits.

    Args:
        summary: The ``summary.json`` of the earlier registration.
        fixed: The scan that was fixed, as of :func:`mics.register`.
        moving: The scan that was moving.
        affine: The file or array, where one was given then.
        model: The file of the network, where it was none of the package's.
        progress: Called with a few words as each stage begins.
        given: What comes with the scans, by the names of :class:`mics.registration.inputs.PairArguments`.

    Returns:
        The registration.

    Raises:
        InputError: For a summary that does not say all that is needed, for an input that has changed, is missing or was not
            there, for another model or affine than then, and as of :func:`mics.register`.
    """
    path = Path(summary)
    known = read_summary(path)
    _refuse_unrepeatable(known, path)
    registrar = _registrar(known, path, affine, model)
    inputs = registrar.read(fixed, moving, progress=progress, **given)
    _refuse_other_inputs(known, path, inputs)
    _warn_of_other_surroundings(known, path, registrar)
    return registrar.register(inputs, progress=progress)


def compared_files(earlier: Path, folder: Path) -> tuple[list[str], list[str]]:
    """Volumes and transforms that lie in both folders: names of those with the same bytes, and of those with others.

    Transforms that were stored to a tolerance, as a batch stores them, are left out: a repetition stores all of them.
    """
    names = sorted(one.name for one in folder.glob("*.nii.gz") if (earlier / one.name).is_file())
    if read_summary(earlier / "summary.json").stored_transforms:
        names = [name for name in names if not name.startswith("transform_")]
    same, other, unreadable = filecmp.cmpfiles(earlier, folder, names, shallow=False)
    return same, [*other, *unreadable]


def _refuse_unrepeatable(known: RunSummary, path: Path) -> None:
    """Raise InputError for a summary of which something is not known."""
    if known.stages is not None:
        raise SettingError(
            f"{path} is of stages of one's own ({', '.join(known.stages)}), which a summary cannot hold: give them to "
            "mics.register again."
        )
    if any(getattr(known.inputs, role).voxels_sha256 is None for role in _ROLES):
        raise InputError(
            f"{path} was written by MICS {known.mics_version}, which noted no checksums: whether these are the same scans cannot "
            "be checked, so register them with the settings that it lists."
        )


def _registrar(
    known: RunSummary,
    path: Path,
    affine: str | Path | NDArray[np.floating] | None,
    model: str | Path | LoadedModel | None,
) -> Registrar:
    """With the settings of the summary. Raises InputError for another affine or model."""
    settings = known.settings
    if affine is None and settings.affine not in _COMPUTED:
        raise SettingError(f"{path} has its affine from {settings.affine}: give it as `affine`.", option="affine")
    if affine is not None and settings.affine in _COMPUTED:
        raise SettingError(f"{path} says that the affine is {settings.affine}: leave `affine` out.", option="affine")
    made = settings.model
    if model is None and made is not None and made.name not in {one["name"] for one in available_models()}:
        raise SettingError(
            f"{path} was made with a network of your own, {made.name}: give its file as `model`.",
            option="model",
        )
    led = known.steering
    steer: list[str | int] = [] if led is None or led.labels is None else list(led.labels.ids)
    steer += [] if led is None or led.landmarks is None else [LANDMARKS]
    registrar = Registrar(
        affine=settings.affine if affine is None else affine,
        steps=None if settings.same_patient else settings.steps,
        model=model if model is not None else DEFAULT_REGISTRATION if made is None else made.name,
        refine=settings.refine,  # type: ignore[arg-type]
        topology=settings.topology,
        steer=steer,
        landmark_tolerance_mm=None if led is None or led.landmarks is None else led.landmarks.tolerance_mm,
        same_patient=settings.same_patient,
        lesions=settings.lesions,
        device=settings.device,
    )
    now = registrar.settings
    if affine is not None and now.affine is not None:
        stored = np.array(known.geometry.affine_fixed_to_moving_lps_mm)
        if not np.array_equal(np.round(now.affine, 6), stored):
            raise InputError(f"The affine that is given is not that of {path}.")
    for name in ("model", "segmentation_model", "affine_model"):
        _refuse_other_model(getattr(settings, name), now.to_dict()[name], path)
    voxel_mm = known.geometry.network_grid.spacing_mm[0]
    if voxel_mm != now.card.spacing_mm:
        raise SettingError(
            f"{path} was made on a grid of {voxel_mm:g} mm voxels, and the network's card asks for {now.card.spacing_mm:g} mm: "
            "give the file of the network that was given then as `model`.",
            option="model",
        )
    return registrar


def _refuse_other_model(then: ModelSummary | None, now: dict[str, str] | None, path: Path) -> None:
    if then is not None and now is not None and then.sha256 != now["sha256"]:
        raise InputError(
            f"The network {then.name} is another one than in {path} (SHA-256 {now['sha256'][:12]}… against "
            f"{then.sha256[:12]}…): repeat it with the MICS and the model that it was made with."
        )


def _refuse_other_inputs(known: RunSummary, path: Path, inputs: PairInputs) -> None:
    """Raise InputError for the first of the inputs that is not as it was."""
    found = pair_checksums(inputs.scans, inputs.landmarks)
    then = {role: getattr(known.inputs, role) for role in _ROLES}
    voxels = [then[role].voxels_sha256 for role in _ROLES]
    if voxels[0] != voxels[1] and [found[role]["voxels_sha256"] for role in _ROLES] == voxels[::-1]:
        raise InputError(f"The scans are exchanged: the fixed one was moving in {path}, and the moving one fixed.")
    for role in _ROLES:
        scan = getattr(inputs.scans, role)
        for kind in KINDS:
            _refuse_other_input(then[role], found[role][f"{kind}_sha256"], role, kind, path)
        if not scan.image.grid.is_close(_grid(then[role].grid)):
            raise InputError(
                f"The {role} scan has the voxels that {path} knows, but its header places them elsewhere (size, spacing, origin "
                "or direction): give the file as it was."
            )


def _grid(summary: GridSummary) -> Grid:
    return Grid(summary.size, summary.spacing_mm, summary.origin_lps_mm, tuple(summary.direction_lps))


def _refuse_other_input(then: InputSummary, now: str | None, role: str, kind: str, path: Path) -> None:
    before, what = getattr(then, f"{kind}_sha256"), _WHAT[kind]
    verb = "were" if kind == "landmarks" else "was"
    if before == now:
        return
    argument = f"{role}_{kind}"
    if now is None:
        raise SettingError(
            f"{path} was made with {what} of the {role} scan: give them again as `{argument}`."
            if kind == "landmarks"
            else f"{path} was made with a {what} of the {role} scan: give it again as `{argument}`.",
            option=argument,
        )
    if before is None:
        raise SettingError(
            f"{path} was made without {what} of the {role} scan: leave `{argument}` out.", option=argument
        )
    raise InputError(
        f"The {role} {what} {verb} changed since {path} was written, or {'are others' if kind == 'landmarks' else 'is another'}: "
        "the SHA-256 of the values differs."
    )


def _warn_of_other_surroundings(known: RunSummary, path: Path, registrar: Registrar) -> None:
    """A sentence for another version of MICS, and one for whatever else the last digits depend on."""
    # A version that is not released yet has one number for long.
    then = f"{known.mics_version} (schema_version {known.schema_version})"
    own = f"{version('mics-registration')} (schema_version {SCHEMA_VERSION})"
    if then != own:
        warnings.warn(
            f"{path} was written by MICS {then}, and this is {own}: the result may be another one.",
            UserWarning,
            stacklevel=3,
        )
    if known.environment is None:
        return
    now, before = environment(registrar.device), known.environment.model_dump()
    changed = [
        f"{name.replace('_', ' ')} {before.get(name) or 'none'}, now {value or 'none'}"
        for name, value in now.items()
        if before.get(name) != value
    ]
    if changed:
        warnings.warn(
            f"{path} was computed with other things than are here, so that the last digits, or how files are packed, may differ: "
            f"{'; '.join(changed)}.",
            UserWarning,
            stacklevel=3,
        )
