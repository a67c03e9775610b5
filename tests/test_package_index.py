"""What a package index shows and hands out, as the build backend writes it."""

import email
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

PREPARE = "import sys; from setuptools import build_meta; build_meta.prepare_metadata_for_build_wheel(sys.argv[1])"


def test_the_description_has_no_link_that_leads_nowhere_there(tmp_path):
    done = subprocess.run([sys.executable, "-c", PREPARE, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    metadata = email.message_from_bytes(next(tmp_path.glob("*.dist-info/METADATA")).read_bytes())
    description = metadata.get_payload(decode=True).decode()
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert description.startswith("# MICS")
    targets = re.findall(r"\]\(([^)]*)\)", description)
    assert [target for target in targets if not target.startswith("https://")] == []
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(re.findall(r"^#", description, re.M)) == len(re.findall(r"^#", readme, re.M))
    assert "`docs/verdict.md`" in description


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
def test_the_source_distribution_has_all_that_its_tests_need(tmp_path):
    write = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(tmp_path)]
    done = subprocess.run(write, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    packed = set((tmp_path / "mics_registration.egg-info" / "SOURCES.txt").read_text().splitlines())
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    of_the_checkout = {".ci/run", ".gitignore", ".pre-commit-config.yaml"}
    assert set(tracked) - packed == of_the_checkout
