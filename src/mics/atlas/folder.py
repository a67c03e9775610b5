"""A folder of many registrations that goes on where it stopped: what it was made of, and how long the rest takes."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mics.data.pairs import ScanSource
from mics.data.state import location_of, state_of
from mics.errors import InputError, RunError, SettingError, shown
from mics.files.whole import write_text


def pin_inputs(folder: Path, name: str, content: Mapping[str, Any]) -> None:
    """Pin the inputs of the work: write them into ``folder / name``; raises InputError where that says something else."""
    path = folder / name
    earlier = read_json(path)
    if earlier is not None and earlier != content:
        unlike = sorted(key for key in {*earlier, *content} if earlier.get(key) != content.get(key))
        other = "other" if len(unlike) > 1 or unlike[0].endswith("s") else "another"
        raise RunError(
            f"{folder} holds earlier work with {other} {', '.join(unlike)}: give a new folder, or what it was begun with."
        )
    write_json(content, path)


def read_json(path: Path) -> dict[str, Any] | None:
    """The object that a file of ours holds, None without the file; raises InputError for a damaged one."""
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged: delete it, then what it tells of is computed again.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is damaged: delete it, then what it tells of is computed again.")
    return content


def write_json(content: Mapping[str, Any], path: Path) -> None:
    """Write plain data, whole or not at all."""
    write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", path)


def state_of_files(member: ScanSource) -> dict[str, list[int]]:
    """The state by which a changed file of the scan shows, or another in its place."""
    return {location_of(path.resolve()): state_of(path) for path in member.files.values()}


def failure_message(member: ScanSource, error: Exception) -> str:
    """What an error says, for results that are handed on: the scan's files by their own names."""
    message = str(error)
    for path in sorted(map(str, member.files.values()), key=len, reverse=True):
        message = message.replace(path, Path(path).name)
    return message


def require_progress(progress: object) -> None:
    """Raise InputError for what cannot be called."""
    if not callable(progress):
        raise SettingError(
            f"`progress` is called with a few words as each step begins, which {shown(progress)} cannot be."
        )


class Clock:
    """How long the rest of so many equal pieces of work takes, by those that were done since it was started."""

    def __init__(self, pieces: int) -> None:
        self.left, self.done, self.began = pieces, 0, time.monotonic()

    def tick(self, *, worked: bool = True) -> None:
        """One piece is done, or has turned out to be no work."""
        self.left, self.done = self.left - 1, self.done + worked

    def __str__(self) -> str:
        if not self.done:
            return ""
        seconds = self.left * (time.monotonic() - self.began) / self.done
        return f", about {seconds / 60:.0f} min left" if seconds > 90 else f", about {seconds:.0f} s left"
