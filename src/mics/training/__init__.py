"""Training of the registration and the segmentation network. Needs the ``train`` extra."""
