"""The main job: two scans in, two transforms out."""
