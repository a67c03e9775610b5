"""Names of files, and files and folders that appear whole or not at all."""
