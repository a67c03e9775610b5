"""What the module does, apart from Slicer; see docs/slicer.md."""
