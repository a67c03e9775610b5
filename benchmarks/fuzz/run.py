"""Broken input for everything that reads a file of a user: one sentence (InputError), or what the file says; nothing else.

    python benchmarks/fuzz/run.py --seconds 60                 # a minute for each parser
    python benchmarks/fuzz/run.py --parsers nifti recipe --seconds 600

Atheris (libFuzzer) changes sound files so that ever more of its lines are reached. Whatever else is raised, hangs of more
than ten seconds and more than 4 GB of memory are finds: the input is kept in ``out/fuzz/PARSER/``, and what was raised in
``messages.txt`` there. Needs the extra ``fuzz``. A find that was corrected becomes a case of the parser's tests.
"""

import argparse
import hashlib
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import NoReturn


def main() -> None:
    """Each parser in a process of its own, one after the other; ends with 1 if there was a find."""
    if "--one" in sys.argv:
        fuzz(*sys.argv[2:])
    from parsers import PARSERS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parsers", nargs="+", choices=PARSERS, default=list(PARSERS))
    parser.add_argument("--seconds", type=int, default=60, help="for each (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("out/fuzz"))
    arguments = parser.parse_args()
    found = []
    print("| parser | inputs | finds |\n|---|---|---|")
    for name in arguments.parsers:
        command = [sys.executable, __file__, "--one", name, str(arguments.out / name), str(arguments.seconds)]
        done = subprocess.run(command, capture_output=True, text=True)
        inputs = [
            line.split()[1] for line in done.stderr.splitlines() if line.startswith("stat::number_of_executed_units")
        ]
        kept = [path for path in (arguments.out / name).glob("*-*") if path.is_file()]
        if done.returncode and not kept:
            raise SystemExit(done.stderr[-2000:])
        found += kept
        (arguments.out / name / "messages.txt").write_text(done.stderr, encoding="utf-8")
        print(f"| {name} | {inputs[0] if inputs else '-'} | {len(kept)} |", flush=True)
    raise SystemExit(bool(found))


def fuzz(name: str, folder: str, seconds: str) -> NoReturn:
    """Give one parser changed input for so many seconds; ends the process."""
    import atheris

    with atheris.instrument_imports(include=["mics"]):
        from parsers import PARSERS

        from mics.errors import InputError

    file, read, seed = PARSERS[name]
    out = Path(folder)
    corpus = out / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp()) / file
    seed(place)
    (corpus / "seed").write_bytes(place.read_bytes())
    warnings.simplefilter("ignore")

    def one(content: bytes) -> None:
        place.write_bytes(content)
        try:
            read(place)
        except InputError:
            pass
        except Exception:
            (out / f"find-{hashlib.sha256(content).hexdigest()[:12]}").write_bytes(content)
            raise

    options = [f"-max_total_time={seconds}", f"-artifact_prefix={out}/", "-timeout=10", "-rss_limit_mb=4096"]
    atheris.Setup([sys.argv[0], *options, "-print_final_stats=1", "-max_len=4096", str(corpus)], one)
    atheris.Fuzz()
    raise SystemExit


if __name__ == "__main__":
    main()
