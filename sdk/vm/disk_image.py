# SPDX-License-Identifier: ISC
"""What nearly every command in the machine reads, as a disk image: programs, libraries, Python and this repository.

Through 9p each file that is opened is four questions to the outside, which makes a Python start in ten seconds. The
image is made anew for every boot from what is there now, in two seconds, by links and mke2fs.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from sdk.lab.machine import REPOSITORY
from sdk.vm.kernels import run

FILE_MAX_BYTES = 24 << 20  # what is larger is no program of ours, and is still read through 9p
FOLDERS = (
    "/etc",
    "/usr/bin",
    "/usr/sbin",
    "/usr/lib/python3",
    "/usr/lib/python3.*",
    "/usr/lib/*-linux-gnu/xtables",
)
LIBRARIES = "/usr/lib/*-linux-gnu/*.so*"
EXCLUDED = (".git", "vm", "__pycache__.old", ".mypy_cache", ".ruff_cache", ".hypothesis", ".pytest_cache")
ROOM_MB = 64  # for the file system itself


def files() -> Iterator[Path]:
    """Yield every file and symlink that goes into the image."""
    root = Path("/")
    for pattern in FOLDERS:
        for folder in root.glob(pattern.lstrip("/")):
            yield from below(folder)
    yield from (each for each in root.glob(LIBRARIES.lstrip("/")) if not each.is_dir())
    yield from below(REPOSITORY)


def below(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in EXCLUDED or Path(place) == REPOSITORY / "sdk"]
        yield from (Path(place, name) for name in names)


def make_image(folder: Path) -> Path:
    """Return the image, made in a folder. Raises VmError."""
    tree, size = folder / "hot", 0
    for file in files():
        with contextlib.suppress(FileNotFoundError, PermissionError):  # it is gone again
            size += link(file, tree / file.relative_to("/"))
    image = folder / "hot.img"
    blocks = f"{(size >> 20) * 9 // 8 + ROOM_MB}M"
    run("mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d", str(tree), str(image), blocks)
    shutil.rmtree(tree)
    return image


def link(file: Path, copy: Path) -> int:
    """Put a file into the tree, as a link where it can be; return the room that it takes (bytes)."""
    state = file.lstat()
    is_symlink = file.is_symlink()
    if not is_symlink and (not file.is_file() or state.st_size > FILE_MAX_BYTES):
        return 0
    copy.parent.mkdir(parents=True, exist_ok=True)
    if is_symlink:
        copy.symlink_to(os.readlink(file))
        return 4096
    try:
        os.link(file, copy)
    except OSError:  # another file system
        shutil.copy2(file, copy)
    return state.st_size + 4096
