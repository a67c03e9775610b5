"""Pure functions on displacement tensors, and the Transform that carries one on its grid."""
