"""How good a registration is: overlap, surface distance, regularity, inverse consistency; Learn2Reg's files."""

from mics.evaluation.learn2reg import Score, score
from mics.evaluation.metrics import dice, dice30, hd95, inverse_consistency_mm, sd_log_jacobian

__all__ = ["Score", "dice", "dice30", "hd95", "inverse_consistency_mm", "score", "sd_log_jacobian"]
