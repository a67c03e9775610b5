"""Labels for organs that are not annotated: predicted, cleaned, ranked by how plausible they are, and shown."""
