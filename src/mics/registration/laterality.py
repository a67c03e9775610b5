"""Whether a scan shows its patient mirrored, as a file with a wrong header does."""

from torch import Tensor

from mics.errors import GeometryError
from mics.organs import LIVER, SPLEEN
from mics.registration.evidence import expected_precision_of_all

_MIN_ML = 40.0
_SURE = 0.85
"""Of the organs in a scan that the network knows, mirrored or not; what it guesses into anything else may lie on any side."""


def check_laterality(*, organs_moving: Tensor, organs_fixed: Tensor, spacing_mm: float) -> list[str]:
    """What the sides of liver and spleen say about the headers, a sentence each; nothing where they are not surely seen.

    Organ maps ``(1, organs, X, Y, Z)`` on a grid whose first axis runs towards the patient's left. The segmentation
    network is trained with mirrored patients too, so that it finds the liver on either side. Two scans that are mirrored
    alike are registered as they are. Raises :class:`InputError` if only one of them is mirrored: no deformation may
    mirror a patient.
    """
    sure = [(expected_precision_of_all(organs) or 0) >= _SURE for organs in (organs_moving, organs_fixed)]
    if not all(sure):
        return []
    mirrored = [liver_is_left(organs, spacing_mm) for organs in (organs_moving, organs_fixed)]
    if None in mirrored:
        return []
    if mirrored[0] != mirrored[1]:
        role = "moving" if mirrored[0] else "fixed"
        raise GeometryError(
            f"The {role} scan shows the liver on the patient's left and the other one on the right, so one header has "
            "left and right exchanged: correct that header's direction, or give both scans mirrored alike."
        )
    if mirrored[0]:
        return [
            "Both scans show the liver on the patient's left: their headers have left and right exchanged, as Learn2Reg's "
            "have; the transforms are right for these files, but not for the patient's true sides."
        ]
    return []


def liver_is_left(organs: Tensor, spacing_mm: float) -> bool | None:
    """Whether the liver lies to the left of the spleen; None if less than 40 ml of either is seen."""
    places = []
    for organ in (LIVER, SPLEEN):
        profile = (organs[0, organ - 1] > 0.5).sum((1, 2)).double()
        if profile.sum() * spacing_mm**3 / 1000 < _MIN_ML:
            return None
        index = profile.new_tensor(range(len(profile)))
        places.append(float((profile * index).sum() / profile.sum()))
    return places[0] > places[1]
