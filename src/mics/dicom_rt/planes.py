"""The plane and the pixels of an image object."""

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from mics.dicom_rt.objects import decimal
from mics.image.grid import Grid


def put_plane(made: Dataset, grid: Grid, k: int = 0) -> None:
    """Give an image object the place of slice ``k`` of ``grid`` (DICOM PS3.3, C.7.6.2): of a volume, the first slice."""
    axes = np.array(grid.direction).reshape(3, 3)
    made.ImagePositionPatient = [decimal(x) for x in grid.voxel_to_world([0, 0, k])]
    made.ImageOrientationPatient = [f"{x:.10f}" for x in (*axes[:, 0], *axes[:, 1])]
    made.PixelSpacing = [f"{grid.spacing[1]:.8g}", f"{grid.spacing[0]:.8g}"]  # between rows, then between columns


def put_pixels(made: Dataset, values: NDArray[np.int16] | NDArray[np.uint16]) -> None:
    """Give an image object 16-bit pixels, (X, Y) or (X, Y, Z)."""
    made.Columns, made.Rows = values.shape[:2]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.PixelRepresentation = 15, int(values.dtype.kind == "i")
    made.add_new("PixelData", "OW", np.ascontiguousarray(values.T).astype(values.dtype.newbyteorder("<")).tobytes())
