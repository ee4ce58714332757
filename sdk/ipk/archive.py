# SPDX-License-Identifier: ISC
"""Archives of folders and texts. The same input gives the same bytes, on every machine and at any time."""

import gzip
import io
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

SCRIPTS = ("preinst", "postinst", "prerm", "postrm", "postinst-pkg", "prerm-pkg")


def entry(name: str, mode: int, epoch: int) -> tarfile.TarInfo:
    """A member as root's, at the given time (seconds)."""
    member = tarfile.TarInfo(name)
    member.mode, member.mtime = mode, epoch
    member.uname = member.gname = "root"
    return member


def walk(folder: Path) -> Iterator[Path]:
    """Everything in a folder, parents before children, by name."""
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from walk(path)


def folder_members(folder: Path, epoch: int) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """A folder's content as members of an archive; of modes only what the owner may do counts, for umasks differ."""
    yield from ((member, b"") for member in [directory("./", epoch)])
    for path in walk(folder):
        name = f"./{path.relative_to(folder)}"
        if path.is_symlink():
            member = entry(name, 0o777, epoch)
            member.type, member.linkname = tarfile.SYMTYPE, os.readlink(path)
            yield member, b""
        elif path.is_dir():
            yield directory(f"{name}/", epoch), b""
        else:
            mode = path.stat().st_mode & 0o777
            # what only its owner may read stays so
            yield (
                entry(name, mode if not mode & 0o077 else (0o755 if mode & 0o100 else 0o644), epoch),
                path.read_bytes(),
            )


def directory(name: str, epoch: int) -> tarfile.TarInfo:
    member = entry(name, 0o755, epoch)
    member.type = tarfile.DIRTYPE
    return member


def text_members(files: Mapping[str, str], epoch: int) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """Texts as members, scripts executable."""
    yield directory("./", epoch), b""
    for name in sorted(files):
        yield entry(f"./{name}", 0o755 if name in SCRIPTS else 0o644, epoch), files[name].encode()


def tar_gz(members: Iterable[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    """A compressed tar in GNU's format, which opkg reads."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), compresslevel=9, mtime=0)


def ipk(data: Path, control: Mapping[str, str], epoch: int) -> bytes:
    """Return a package: OpenWrt's ipk is a compressed tar of three files."""
    parts = (
        ("./debian-binary", b"2.0\n"),
        ("./data.tar.gz", tar_gz(folder_members(data, epoch))),
        ("./control.tar.gz", tar_gz(text_members(control, epoch))),
    )
    return tar_gz((entry(name, 0o644, epoch), content) for name, content in parts)
