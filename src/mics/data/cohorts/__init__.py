"""One file a public dataset: where its cases lie, how its volumes are oriented, what its labels mean."""
