"""The control points that deedsBCV writes, in our convention."""

import numpy as np

from mics.experiments.baselines.deeds import read_displacements


def test_control_points_become_a_dense_displacement(tmp_path):
    """A file as the program writes it: along j, along i, along k; index i runs fastest."""
    size, counts = (12, 9, 8), (3, 2, 2)
    i, j, k = np.meshgrid(*[np.arange(n, dtype=np.float32) for n in counts], indexing="ij")
    along_i, along_j, along_k = 10 * i + j, 20 * j + k, 30 * k + i
    volumes = [volume.transpose(2, 1, 0).ravel() for volume in (along_j, along_i, along_k)]
    np.concatenate(volumes).tofile(tmp_path / "out_displacements.dat")
    dense = read_displacements(tmp_path / "out_displacements.dat", size)
    assert dense.shape == (3, *size)
    # Nine voxels along j hold two control points, 4.5 voxels apart: the second lies between voxels 4 and 5.
    for (x, y, z), (a, b, c) in {
        (0, 0, 0): (0, 0, 0),
        (4, 0, 4): (1, 0, 1),
        (6, 0, 0): (1.5, 0, 0),
        (11, 8, 7): (2, 1, 1),
        (0, 3, 2): (0, 2 / 3, 0.5),
    }.items():
        np.testing.assert_allclose(dense[:, x, y, z], [10 * a + b, 20 * b + c, 30 * c + a], rtol=1e-5)
