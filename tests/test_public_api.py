import subprocess
import sys

import pytest

import mics


@pytest.mark.parametrize("name", mics.__all__)
def test_every_public_name_is_there(name):
    assert getattr(mics, name) is not None
    assert name in dir(mics)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'registre'"):
        mics.registre  # noqa: B018


def test_importing_the_package_and_its_command_leaves_the_heavy_libraries_alone():
    code = "import sys, mics, mics.cli.main; print({'torch', 'ants', 'SimpleITK', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
