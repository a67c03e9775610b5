"""A scan: its geometry, reading and writing, resampling, and the windows that the networks see."""
