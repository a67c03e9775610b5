"""Many pairs of scans, registered one after the other or side by side into one folder, each pair whole or not there."""
