"""Models, device and settings that stay at hand, for one pair of scans after the other."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import numpy as np
import torch
from numpy.typing import NDArray

from mics.choices import Lesions, Refine, Topology
from mics.errors import SettingError
from mics.evaluation.landmarks import read_landmarks
from mics.image.points import Points
from mics.network.weights import DEFAULT_REGISTRATION, LoadedModel
from mics.registration.findings import findings
from mics.registration.fork import refuse_forked
from mics.registration.header_orientation import wrong_orientations
from mics.registration.inputs import PairArguments, Scan, Source, load_pair, meaning_of_labels
from mics.registration.memory import require_memory
from mics.registration.network_grid import refuse_thin
from mics.registration.pair import Pair
from mics.registration.result import Registration
from mics.registration.sagittal import lefts_of
from mics.registration.settings import Settings, resolve
from mics.registration.stage import Stage, State, run_stage
from mics.registration.stage_order import after_network, plan, refuse_unfit
from mics.registration.steering import refuse_unfit_steering, what_steers
from mics.registration.summary import completed, summarise
from mics.registration.timing import Timing

_logger = logging.getLogger("mics.registration")

Progress = Callable[[str], None]


@contextmanager
def _as_alone() -> Iterator[None]:
    """What numpy does about overflows, and torch's default device, as in a process in which nobody has set them."""
    with ExitStack() as stack:
        stack.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        yield


@dataclass(frozen=True, kw_only=True, eq=False)
class PairInputs:
    """A pair that is read and checked, ready to be registered; see :meth:`Registrar.read`."""

    settings: Settings
    """The registrar's, with what steers this pair."""
    scans: Pair[Scan]
    messages: Sequence[str]
    """What was warned about."""
    meaning: Mapping[int, str]
    disagreements: Sequence[str]
    landmarks: tuple[Points, Points] | None
    seconds: float


class Registrar:
    """Registers pairs of abdominal CT scans with the same settings; models are loaded once and stay on the device.

    Args:
        affine: how the scans are laid upon each other first: ``"organs"``, ``"ants"``, ``"none"``, a file, or an array (4, 4),
            fixed to moving LPS mm; :func:`mics.register` says more of it and of all that follows.
        steps: of the network.
        model: a shipped model, a file, or what :func:`mics.load_model` returned.
        refine: ``"none"``, ``"fast"`` or ``"accurate"``.
        topology: ``"free"`` or ``"preserve"``.
        stages: what follows the network's prediction, in place of what ``refine`` and ``topology`` stand for.
        steer: what leads the refinement beside images and organ maps.
        landmark_tolerance_mm: how near landmarks that steer are to come.
        same_patient: two scans of one patient: rigid affine (by ANTs), from rest, stiffer, bones nearly rigid.
        lesions: what becomes of their lesions, ``"keep"`` or ``"exclude"``.
        device: ``"auto"``, ``"cpu"``, ``"cuda:N"`` or a ``torch.device``.

    Raises:
        InputError: for settings that are unknown or do not go together, and for a model or device that is not there.

    What is done, and how long it took, goes to the logger ``mics.registration`` at the level INFO.
    """

    def __init__(
        self,
        *,
        affine: str | Path | NDArray[np.floating] = "organs",
        steps: int | None = None,
        model: str | Path | LoadedModel = DEFAULT_REGISTRATION,
        refine: Refine = "fast",
        topology: Topology = "free",
        stages: Sequence[Stage] | None = None,
        steer: Sequence[str | int] = (),
        landmark_tolerance_mm: float | None = None,
        same_patient: bool = False,
        lesions: Lesions = "keep",
        device: str | torch.device = "auto",
    ) -> None:
        self._settings = resolve(
            affine=affine,
            steps=steps,
            model=model,
            refine=refine,
            topology=topology,
            device=device,
            stages=stages,
            same_patient=same_patient,
            lesions=lesions,
        )
        self._steer = refuse_unfit_steering(steer, landmark_tolerance_mm)
        self._landmark_tolerance_mm = landmark_tolerance_mm
        if self._steer:
            self._settings.refuse_unled()
        refuse_unfit(self._settings)

    def __repr__(self) -> str:
        own = self._settings
        predicts = "no network" if own.model is None else own.model.name
        return f"Registrar({predicts}, steps={own.steps}, refine={own.refine!r}, device={str(own.device)!r})"

    @property
    def device(self) -> torch.device:
        """The device that the networks run on."""
        return self._settings.device

    @property
    def settings(self) -> Settings:
        """The settings, looked up: models, affine, device and the rest."""
        return self._settings

    @property
    def model(self) -> LoadedModel | None:
        """The registration network; None between two scans of one patient, where none predicts."""
        return self._settings.model

    def __call__(
        self,
        fixed: Source,
        moving: Source,
        *,
        progress: Progress | None = None,
        **given: Unpack[PairArguments],
    ) -> Registration:
        """Register two scans to each other, both ways.

        Args:
            fixed: A scan, as of :func:`mics.register`.
            moving: The other scan.
            progress: Called with a few words as each stage begins.
            given: What comes with the scans, by the names of :class:`mics.registration.inputs.PairArguments`.

        Returns:
            The registration.

        Raises:
            InputError: As of :func:`mics.register`.
        """
        inputs = self.read(fixed, moving, progress=progress, **given)
        return self.register(inputs, progress=progress)

    @_as_alone()
    def read(
        self,
        fixed: Source,
        moving: Source,
        *,
        progress: Progress | None = None,
        **given: Unpack[PairArguments],
    ) -> PairInputs:
        """The first half of a call: read and check a pair, while another thread registers the one before.

        Args:
            fixed: A scan, as of :func:`mics.register`.
            moving: The other scan.
            progress: Called with a few words as it begins.
            given: What comes with the scans, by the names of :class:`mics.registration.inputs.PairArguments`.

        Returns:
            The pair, for :meth:`register`.

        Raises:
            InputError: As of :func:`mics.register`.
        """
        timing = Timing(progress)
        with timing("read", "Reading"):
            scans, messages = load_pair(fixed=fixed, moving=moving, **given)
            meaning, disagreements = meaning_of_labels(given.get("label_names"), scans)
            landmarks = read_landmarks(given.get("fixed_landmarks"), given.get("moving_landmarks"))
            steering = what_steers(
                self._steer, self._landmark_tolerance_mm, scans=scans, meaning=meaning, landmarks=landmarks
            )
            settings = self._settings.steered(steering)
            _refuse_unusable(scans, settings)
        return PairInputs(
            settings=settings,
            scans=scans,
            messages=messages,
            meaning=meaning,
            disagreements=disagreements,
            landmarks=landmarks,
            seconds=timing.seconds["read"],
        )

    # The refinement needs gradients, also for a caller who has turned them off.
    @torch.inference_mode(False)
    @torch.enable_grad()
    @_as_alone()
    def register(self, inputs: PairInputs, *, progress: Progress | None = None) -> Registration:
        """The second half of a call: register what :meth:`read` has read. One pair at a time, whatever the threads.

        Args:
            inputs: The pair.
            progress: Called with a few words as each stage begins.

        Returns:
            The registration.

        Raises:
            InputError: For too little memory, and for what shows only in the work, as headers that mirror one patient.
        """
        refuse_forked()
        settings, scans = inputs.settings, inputs.scans
        fixed, moving = scans.fixed.image, scans.moving.image
        require_memory(settings, fixed=fixed.grid, moving=moving.grid)
        timing = Timing(progress, before={"read": inputs.seconds})
        with timing("affine", "Looking how the patients lie"):
            lefts = lefts_of(Pair(fixed=fixed, moving=moving))
        # Of who lies rolled, the networks' grid is larger.
        require_memory(settings, fixed=fixed.grid, moving=moving.grid, lefts=lefts)
        state = State(scans=scans, device=settings.device, lefts=lefts, warnings=list(inputs.messages))
        for stage in plan(settings):
            with timing(stage.name, stage.title):
                state = run_stage(stage, state)
        with timing("warp", "Warping"):
            result = _warped(state)
        with timing("measure", "Measuring"):
            found, verdict = findings(
                result,
                state,
                settings,
                meaning=inputs.meaning,
                disagreements=inputs.disagreements,
                landmarks=inputs.landmarks,
            )
        if verdict.word == "failed" and state.evidence is not None:
            with timing("headers", "It failed: looking for a header that turns its patient"):
                verdict = verdict.because(
                    wrong_orientations({"fixed": result.fixed, "moving": result.moving}, settings.device)
                )
        _logger.info("Verdict: %s", verdict.word)
        summary = summarise(state, settings, landmarks=inputs.landmarks, found=found, verdict=verdict, timing=timing)
        return completed(result, summary)


def _refuse_unusable(scans: Pair[Scan], settings: Settings) -> None:
    """Raise InputError for what cannot be registered with these settings, as far as it shows before the work."""
    masked = scans.fixed.exclude is not None or scans.moving.exclude is not None
    if masked and not any("organ_maps" in stage.needs for stage in after_network(settings)):
        raise SettingError(
            'Masks of what to leave out are for the refinement: use `refine="fast"` or `refine="accurate"`.',
            option="refine",
        )
    followed = scans.fixed.lesions is not None or scans.moving.lesions is not None
    if followed and not settings.same_patient:
        raise SettingError(
            "Lesions are followed from scan to scan of one patient: say so by `same_patient`, or use `fixed_exclude` and "
            "`moving_exclude` between two patients.",
            option="same_patient",
        )
    refuse_thin(fixed=scans.fixed.image.grid, moving=scans.moving.image.grid, spacing_mm=settings.card.spacing_mm)


def _warped(state: State) -> Registration:
    """Both scans and their labels brought over, from the originals in one interpolation; the summary still empty."""
    fixed, moving = state.scans.fixed, state.scans.moving
    forward, backward = state.transforms.moving_to_fixed, state.transforms.fixed_to_moving
    return Registration(
        fixed=fixed.image,
        moving=moving.image,
        fixed_labels=fixed.labels,
        moving_labels=moving.labels,
        affine=state.affine,
        moving_to_fixed=forward,
        fixed_to_moving=backward,
        moving_warped=forward.transform_image(moving.image),
        fixed_warped=backward.transform_image(fixed.image),
        moving_labels_warped=None if moving.labels is None else forward.transform_labels(moving.labels),
        fixed_labels_warped=None if fixed.labels is None else backward.transform_labels(fixed.labels),
        summary={},
        deformation=state.deformation,
        to_scans=state.to_scans,
    )
