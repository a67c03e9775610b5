"""A digital abdominal phantom: procedural, seeded, a family of subjects with all thirteen organs."""

from mics.data.phantom.family import DeformedPair, Phantom, deformed_pair, phantom, phantom_pair
from mics.data.phantom.scanner import Scanner, hospital_scanner, network_grid, network_scanner, plain_scanner

__all__ = [
    "DeformedPair",
    "Phantom",
    "Scanner",
    "deformed_pair",
    "hospital_scanner",
    "network_grid",
    "network_scanner",
    "phantom",
    "phantom_pair",
    "plain_scanner",
]
