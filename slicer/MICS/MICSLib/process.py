"""A command in a process of its own, looked at now and then: Slicer stays responsive, and a crash is not Slicer's."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path


class Process:
    """Starts ``command`` at once; what it says, on both streams, goes into the file ``log``."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._log, self._read = log, 0
        environment = {**os.environ, "PYTHONNOUSERSITE": "1", "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"}
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )

    @property
    def code(self) -> int | None:
        """The exit code; None while it runs."""
        return self._process.poll()

    def new_lines(self) -> list[str]:
        """The lines that have come since the last call, without one that is still being written."""
        with self._log.open("rb") as file:
            file.seek(self._read)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._read += len(whole)
        return [line.rstrip() for line in whole.decode(errors="replace").splitlines() if line.strip()]

    def stop(self) -> None:
        """Ask it to end (it tidies up), and wait until it has."""
        self._process.terminate()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
