import contextlib
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import typer
from typer.testing import CliRunner

from mics.cli.errors import PACKAGE, Commands, in_flags
from mics.errors import InputError, SettingError


def failing(error):
    app = typer.Typer(cls=Commands, pretty_exceptions_enable=False)

    @app.command()
    def fail():
        raise error

    @app.command()
    def other():
        pass

    return CliRunner().invoke(app, ["fail"])


def test_bad_input_is_one_sentence_on_stderr():
    result = failing(InputError("a.nii is not\na scan."))
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", "Error: a.nii is not a scan.\n")


def test_the_library_speaks_of_arguments_and_the_command_of_flags():
    app = typer.Typer(cls=Commands, pretty_exceptions_enable=False)
    error = SettingError(
        'Use `affine="ants"`, not `made_by`, or leave `work_steps` out; see `other=1`.', option="affine"
    )

    @app.command()
    def fail(made_by: str, affine: str = "none", work_steps: int = 1):
        warnings.warn_explicit("look at `affine`.", UserWarning, str(PACKAGE / "own.py"), 1)
        raise error

    @app.command()
    def other():
        raise error

    result = CliRunner().invoke(app, ["fail", "x"])
    assert result.stderr.splitlines() == [
        "Warning: look at --affine.",
        "Error: Use --affine ants, not MADE_BY, or leave --work-steps out; see `other=1`.",
    ]
    assert CliRunner().invoke(app, ["other"]).stderr == f"Error: {error}\n"
    assert error.option == "affine"


def test_a_value_in_backticks_may_hold_spaces_and_equal_signs():
    assert in_flags("go on by `resume /my runs/a=b`.", {"resume": "--resume"}) == "go on by --resume /my runs/a=b."


def test_ctrl_c_is_one_word():
    result = failing(KeyboardInterrupt())
    assert (result.exit_code, result.stderr) == (130, "Interrupted.\n")


def test_what_the_system_refuses_is_one_sentence():
    result = failing(OSError(28, "No space left on device", "out/a.json"))
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", "Error: No space left on device: out/a.json.\n")
    result = failing(OSError("Matplotlib requires access to a writable cache directory: set MPLCONFIGDIR."))
    assert (result.exit_code, "MPLCONFIGDIR" in result.stderr) == (2, True)


def test_too_little_memory_is_one_sentence_and_other_errors_stay():
    torchs = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes.")
    for error in (MemoryError(), torchs, RuntimeError("ITK: Failed to allocate memory for image.")):
        result = failing(error)
        assert (result.exit_code, "not enough memory" in result.stderr) == (2, True)
    assert isinstance(failing(RuntimeError("shapes do not fit")).exception, RuntimeError)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps to a limit on addresses")
@pytest.mark.parametrize(("gigabytes", "message"), [(0.3, "may take 0.3 GB"), (1.0, "may take 1 GB"), (1.5, "memory")])
def test_under_a_limit_on_addresses_it_is_one_sentence(tmp_path, gigabytes, message):
    scan = sitk.GetImageFromArray(np.zeros((8, 8, 8), np.float32))
    scan[0, 0, 0] = 1
    sitk.WriteImage(scan, str(tmp_path / "scan.nii.gz"))
    field = sitk.GetImageFromArray(np.zeros((260, 260, 260, 3), np.float32), isVector=True)
    sitk.WriteImage(field, str(tmp_path / "field.nii"))
    code = (
        f"import resource; resource.setrlimit(resource.RLIMIT_AS, (int({gigabytes}e9),) * 2)\n"
        "from mics.cli.main import main; main()"
    )
    command = [sys.executable, "-c", code, "warp", "scan.nii.gz", "field.nii", "-o", "warped.nii.gz"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert (done.returncode, len(errors), "Traceback" in done.stderr) == (2, 1, False), done.stderr
    assert message in errors[0]
    assert not (tmp_path / "warped.nii.gz").exists()


TERMINATED = """
import os, signal, sys
from mics.registration import register as register_module
register_module.register = lambda *_, **settings: os.kill(os.getpid(), signal.SIGTERM)
from mics.cli.main import main
main()
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM that can be taken")
def test_sigterm_is_told_leaves_no_empty_folder_and_has_its_exit_code(tmp_path):
    command = [sys.executable, "-c", TERMINATED, "register", "a.nii", "b.nii", "-o", str(tmp_path / "new" / "out")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (143, "Terminated.")
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM that can be taken")
def test_a_library_that_takes_the_systems_request_for_itself_and_then_fails_is_no_fault_of_ours():
    app = typer.Typer(cls=Commands, pretty_exceptions_enable=False)

    @app.command()
    def load():
        with contextlib.suppress(BaseException):  # as where a library tries whether another is there
            os.kill(os.getpid(), signal.SIGTERM)
        raise AttributeError("module 'matplotlib' has no attribute 'get_data_path'")

    @app.command()
    def finish():
        with contextlib.suppress(BaseException):
            os.kill(os.getpid(), signal.SIGTERM)
        raise typer.Exit(3)

    assert (CliRunner().invoke(app, ["load"]).exit_code, CliRunner().invoke(app, ["finish"]).exit_code) == (143, 3)
    assert CliRunner().invoke(app, ["load"]).stderr == "Terminated.\n"


NOWHERE = """
import tempfile
tempfile._candidate_tempdir_list = lambda: ["/proc/nowhere"]
from mics.cli.main import main
main()
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder that nobody can write")
@pytest.mark.parametrize(("settings", "options"), [({}, []), ({"MPLCONFIGDIR": "."}, ["--affine", "ants"])])
def test_without_a_temporary_folder_and_home_a_sentence_says_so(tmp_path, make, settings, options):
    scan = make(tmp_path / "scan.nii.gz")
    command = [
        sys.executable,
        "-c",
        NOWHERE,
        "register",
        str(scan),
        str(scan),
        "--refine",
        "none",
        "-o",
        "out",
        *options,
    ]
    homeless = dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"), "/proc/nowhere")
    environment = {**os.environ, **homeless, **settings}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("Error: ")
    assert any(name in done.stderr.splitlines()[-1] for name in ("TMPDIR", "MPLCONFIGDIR"))
    assert not (tmp_path / "out").exists()


def test_a_fault_of_ours_keeps_its_traceback():
    result = failing(RuntimeError("a fault of ours"))
    assert isinstance(result.exception, RuntimeError)


def test_only_the_packages_own_warnings_are_shown(run, tmp_path, monkeypatch):
    def noisy(path):
        warnings.warn("from the package", UserWarning, stacklevel=1)
        warnings.warn_explicit("from a library", UserWarning, "/lib/other.py", 1)
        raise InputError("enough.")

    monkeypatch.setattr("mics.image.points.is_points", noisy)
    # a warning counts as the package's by the file that it comes from
    monkeypatch.setattr("mics.cli.errors.PACKAGE", Path(__file__).parent)
    result = run("warp", "a", "b", "-o", tmp_path / "c")
    assert result.stderr == "Warning: from the package\nError: enough.\n"


def test_the_installed_command_ends_with_the_exit_code(tmp_path):
    command = [sys.executable, "-c", "from mics.cli.main import main; main()", "warp", "no.csv", "no.nii.gz", "-o"]
    done = subprocess.run([*command, str(tmp_path / "out.csv")], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1


def test_a_terminal_that_knows_ascii_alone_gets_a_question_mark_for_the_rest():
    """Progress bars draw bullets."""
    code = "from mics.cli import main; main.app = lambda **_: print('5 \\u2022 6'); main.main()"
    plain = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ended = subprocess.run([sys.executable, "-c", code], env=plain, capture_output=True, encoding="ascii", check=True)
    assert ended.stdout == "5 ? 6\n"


def test_a_locale_that_knows_ascii_alone_is_named(tmp_path):
    ascii_alone = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "mics", "warp", "\xfc.mha", "t.tfm", "-o", "a.nii.gz"],
        cwd=tmp_path,
        env={**os.environ, **ascii_alone},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "is UTF-8, and this process takes names for ascii: set the locale" in done.stderr


def test_a_value_that_cannot_be_chosen_is_told_without_a_word_of_the_library(run):
    result = run("register", "a.nii.gz", "b.nii.gz", "-o", "out", "--refine", "best")
    said = " ".join(result.stderr.replace("│", " ").split())
    assert result.exit_code == 2
    assert "Invalid value for '--refine': 'best' is not one of 'none', 'fast', 'accurate'." in said
