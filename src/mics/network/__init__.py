"""The symmetric multi-step registration network, the organ segmentation network, their presets and weights."""
