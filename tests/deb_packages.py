# SPDX-License-Identifier: ISC
"""The Debian packages for tests: built once a session, and unpacked."""

import atexit
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from sdk.deb import __main__ as deb
from sdk.deb.compiled import own_architecture

os.environ.setdefault("SOURCE_DATE_EPOCH", "1700000000")
FOLDER = Path(tempfile.mkdtemp(prefix="deb-test-"))  # of this process alone
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)


@cache
def built() -> dict[str, Path]:
    """Every package's file, by name."""
    return {file.name.partition("_")[0]: file for file in deb.build([], FOLDER, own_architecture())}


@cache
def unpacked(name: str) -> Path:
    """A package's files, and DEBIAN with what dpkg is told."""
    root = FOLDER / "root" / name
    root.parent.mkdir(exist_ok=True)
    subprocess.run(["dpkg-deb", "-R", str(built()[name]), str(root)], check=True)
    return root


@cache
def server() -> Path:
    """A root with all of them."""
    root = FOLDER / "server"
    root.mkdir()
    for file in built().values():
        subprocess.run(["dpkg-deb", "-x", str(file), str(root)], check=True)
    return root
