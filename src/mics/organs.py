"""The thirteen organs: ids and names, once for the whole package.

Ids are those of Learn2Reg 2020 Task 3 (AbdomenCTCT), which took them from BTCV (Landman et al. 2015).  Right and left
are the patient's.  The json shipped with Learn2Reg names 12 "left" and 13 "right adrenal gland"; in its label maps 12
lies beside the liver in every case, as in BTCV (12 right, 13 left).  The names here follow the anatomy of the data.
"""

from __future__ import annotations

SPLEEN = 1
RIGHT_KIDNEY = 2
LEFT_KIDNEY = 3
GALLBLADDER = 4
OESOPHAGUS = 5
LIVER = 6
STOMACH = 7
AORTA = 8
INFERIOR_VENA_CAVA = 9
PORTAL_AND_SPLENIC_VEIN = 10
PANCREAS = 11
RIGHT_ADRENAL = 12
LEFT_ADRENAL = 13

ORGAN_NAMES: dict[int, str] = {
    SPLEEN: "spleen",
    RIGHT_KIDNEY: "right kidney",
    LEFT_KIDNEY: "left kidney",
    GALLBLADDER: "gallbladder",
    OESOPHAGUS: "oesophagus",
    LIVER: "liver",
    STOMACH: "stomach",
    AORTA: "aorta",
    INFERIOR_VENA_CAVA: "inferior vena cava",
    PORTAL_AND_SPLENIC_VEIN: "portal and splenic vein",
    PANCREAS: "pancreas",
    RIGHT_ADRENAL: "right adrenal gland",
    LEFT_ADRENAL: "left adrenal gland",
}

MIRRORED: dict[int, int] = {
    RIGHT_KIDNEY: LEFT_KIDNEY,
    LEFT_KIDNEY: RIGHT_KIDNEY,
    RIGHT_ADRENAL: LEFT_ADRENAL,
    LEFT_ADRENAL: RIGHT_ADRENAL,
}
"""What a paired organ is called after a left-right flip of the volume."""
