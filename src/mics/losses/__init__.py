"""The losses of the training and of the refinement."""
