"""Other tools, and ours beside them, each an adapter of one form: a pair and an affine in, displacements out.

An adapter is a function ``register(fixed, moving, affine) -> BaselineResult``. ``affine`` (4, 4) takes LPS points of the fixed
scan to the moving one; all methods start from the same, so that what is compared is the deformable part.
"""
