"""The whole way from raw cohorts to an evaluated registration model, each stage skipped if its output is current."""
