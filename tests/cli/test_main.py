"""What the command offers before any work: its version, help, completion, and itself as a module."""

import os
import re
import subprocess
import sys
from importlib.metadata import version

import pytest


def test_the_version_is_the_installed_ones(run):
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"mics {version('mics-registration')}\n")


@pytest.mark.parametrize("command", [[], ["register"], ["warp"]])
def test_h_is_help(run, command):
    short, long = run(*command, "-h"), run(*command, "--help")
    assert short.exit_code == 0
    assert "Usage" in short.stdout
    assert short.stdout == long.stdout


def test_the_package_runs_as_the_command():
    done = subprocess.run([sys.executable, "-m", "mics", "no-command"], capture_output=True, text=True)
    assert done.returncode == 2
    assert re.search("Usage: mics", done.stderr)
    assert "no-command" in done.stderr


def test_a_shell_completes_the_commands():
    asked = {"_MICS_COMPLETE": "complete_bash", "COMP_WORDS": "mics re", "COMP_CWORD": "1"}
    command = [sys.executable, "-m", "mics"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **asked})
    assert done.stdout.split() == ["register"]
