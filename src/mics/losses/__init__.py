"""The five losses of MICS (section 3.3), one file each, and the sum that weighs them."""
