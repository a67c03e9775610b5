"""Many registrations as one result: labels carried over from several scans, and the average of a group."""
