"""An unbiased average of a group of scans, its transforms to everyone, and how everyone's volumes differ from it.

The shape is Guimond's (Guimond, Meunier and Thirion 2000, "Average brain models: a convergence study", CVIU 77(2), 192-210): with
T_k from points of the template to points of member k, affine included, the template lies where the mean over k of T_k(x) is x
itself. Where it does not yet, the mean φ(x) = mean T_k(x) is taken out of all of them: T_k ∘ φ⁻¹ has that property exactly,
whatever scan or order one has begun with.
"""

from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from mics.atlas.folder import pin_inputs, require_progress
from mics.atlas.members import given_members, meaning
from mics.atlas.registering import AtlasSettings
from mics.atlas.template_delivery import Template, deliver
from mics.atlas.template_frame import MIN_MEMBERS, mean_frame
from mics.atlas.template_rounds import Rounds
from mics.choices import Refine
from mics.data.pairs import ScanSource
from mics.errors import SettingError, shown
from mics.files.folder import own_folder
from mics.network.weights import DEFAULT_REGISTRATION

_NOTE = "template.json"


def template(
    scans: str | Path | Sequence[ScanSource],
    output: str | Path,
    *,
    rounds: int = 4,
    spacing_mm: float = 2.0,
    start: str | None = None,
    model: str | Path = DEFAULT_REGISTRATION,
    refine: Refine = "fast",
    device: str = "auto",
    progress: Callable[[str], None] = lambda _: None,
) -> Template:
    """Average a group of scans in shape and grey values, and write it with everyone's transforms into ``output``.

    All members are brought by an affine onto one of them and averaged in the mean frame of all; then, round after round, each is
    registered to the average, the mean of their displacements is taken out of the transforms, and a new average is made, until
    the shape stays where it is. What is done is not done again: an interrupted run goes on. The first round, on a blurred
    average, does without refinement.

    Args:
        scans: A folder or CSV file that :func:`mics.atlas.members.read_members` reads, with or without labels, or its members.
        output: A new or empty folder, or one that this has been begun in. It gets ``template.nii.gz``,
            ``mean_log_jacobian.nii.gz``, ``sd_log_jacobian.nii.gz``, with labels ``labels.nii.gz`` and ``agreement.nii.gz``,
            ``convergence.csv``, ``summary.json``, and both transforms of every member in ``members/NAME/``.
        rounds: At most; fewer where it has converged.
        spacing_mm: Of the template's cubic voxels.
        start: The member to begin with, by default the first by name; the result does not depend on it but for what the
            registrations do.
        model: As in :func:`mics.registration.register.register`; so are ``refine`` and ``device``.
        refine: How much work is spent on each registration, from the second round on.
        device: Where the networks run.
        progress: Called with a few words as each step begins.

    Returns:
        The template, the log-Jacobians, and how it converged.

    Raises:
        InputError: For settings that cannot be used, fewer than two scans, and a folder that holds something else or other work.
    """
    settings = AtlasSettings(model=model, refine=refine, device=device)
    require_progress(progress)
    if not isinstance(rounds, int) or not 1 <= rounds <= 99:
        raise SettingError(f"`rounds` is a whole number from 1 to 99, not {shown(rounds)}.", option="rounds")
    if not isinstance(spacing_mm, int | float) or not 0.5 <= spacing_mm <= 20:
        raise SettingError(f"`spacing_mm` is from 0.5 to 20 mm, not {shown(spacing_mm)}.", option="spacing_mm")
    members = given_members(scans, "The scans of a group", labelled=False)
    label_names = meaning(members)
    names = [member.name for member in members]
    if len(members) < MIN_MEMBERS:
        raise SettingError(f"A template needs at least two scans: {len(members)} found.")
    if start is not None and start not in names:
        raise SettingError(
            f"`start` is the name of one of the scans, {', '.join(names)}, not {start!r}.", option="start"
        )
    settings.refuse_unusable()
    with own_folder(output, _NOTE, "a template") as folder:
        content = {"scans": names, "spacing_mm": spacing_mm, "start": start, **settings.to_dict()}
        pin_inputs(folder, _NOTE, {**content, "version": version("mics-registration")})
        frame = mean_frame(folder, members, start=start, spacing_mm=spacing_mm, device=device, progress=progress)
        work = Rounds(folder, frame, settings, progress)
        return deliver(work, work.run(rounds), label_names)
