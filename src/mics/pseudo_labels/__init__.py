"""Labels for organs that nobody annotated: predicted, cleaned, ranked by how plausible they are, and shown."""
