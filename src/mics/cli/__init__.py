"""The command `mics`: one thin file a command; what a command does lives in the package."""
