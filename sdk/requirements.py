# SPDX-License-Identifier: ISC
"""`make requirements`: requirements.txt, of requirements.in: each package and what it needs, with hashes.

pip itself says what it would install, for each Python that a Debian may have. Nothing is installed.
"""

import json
import subprocess
import sys
from pathlib import Path

from runtime.usage import Parser

ROOT = Path(__file__).resolve().parents[1]
WANTED, LOCKED = ROOT / "requirements.in", ROOT / "requirements.txt"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PROCESSORS = ("x86_64",)  # MicroPython is there for no other
PLATFORMS = (
    "manylinux_2_28_{0}",
    "manylinux_2_17_{0}",
    "manylinux2014_{0}",
    "manylinux_2_5_{0}",
    "manylinux1_{0}",
)
HEAD = """\
# Made of requirements.in by `make requirements`: the exact versions and files that `make` installs into .venv.
"""
Files = dict[tuple[str, str], set[str]]  # name, version -> hashes


class RequirementsError(RuntimeError):
    """pip cannot tell: one sentence."""


def report(python: str, processor: str) -> dict:
    """Return what pip would install. Raises RequirementsError."""
    words = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--dry-run",
        "--ignore-installed",
        "--quiet",
        "--report",
        "-",
    ]
    words += ["--only-binary=:all:", "--python-version", python, "--target", "/nonexistent"]
    words += [word for each in PLATFORMS for word in ("--platform", each.format(processor))]
    done = subprocess.run([*words, "-r", str(WANTED)], capture_output=True, text=True, timeout=600)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise RequirementsError(f"pip, for Python {python} on {processor}: {last[0]}")
    found: dict = json.loads(done.stdout)
    return found


def files_of(found: dict) -> Files:
    """Return the hashes in a report of pip."""
    files: Files = {}
    for each in found["install"]:
        metadata, archive = each["metadata"], each["download_info"]["archive_info"]
        files.setdefault((metadata["name"].lower(), metadata["version"]), set()).add(
            archive["hashes"]["sha256"]
        )
    return files


def text_of(files: Files) -> str:
    lines = [
        f"{name}=={version} \\\n" + " \\\n".join(f"    --hash=sha256:{each}" for each in sorted(hashes))
        for (name, version), hashes in sorted(files.items())
    ]
    return HEAD + "\n".join(lines) + "\n"


def main() -> int:
    Parser(prog="make requirements", description="Write requirements.txt.").parse_args()
    files: Files = {}
    try:
        for python in PYTHONS:
            for processor in PROCESSORS:
                for key, hashes in files_of(report(python, processor)).items():
                    files.setdefault(key, set()).update(hashes)
    except RequirementsError as error:
        print(f"make requirements: {error}", file=sys.stderr)
        return 1
    LOCKED.write_text(text_of(files))
    return 0


if __name__ == "__main__":
    sys.exit(main())
