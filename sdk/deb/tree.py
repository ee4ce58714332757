# SPDX-License-Identifier: ISC
"""A package's files and what dpkg is told of it, as a folder that dpkg-deb makes a package of."""

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

from sdk.deb import manual
from sdk.deb.compiled import Compiler
from sdk.deb.recipes import HOME, Recipe
from sdk.deb.scripts import scripts

ROOT = Path(__file__).resolve().parents[2]
MAINTAINER = "gluon-464xlat maintainers <maintainers@gluon-464xlat.example>"
RUN = '#!/bin/sh\n# SPDX-License-Identifier: ISC\nexec /usr/bin/python3 -I /{home} {module} "$@"\n'
COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: gluon-464xlat

Files: *
Copyright: the authors of gluon-464xlat
License: ISC
"""
OF_BPF = """\

Files: siit/bpf/*.bpf.c
Copyright: the authors of gluon-464xlat
License: GPL-2.0-only
 On Debian systems the text is in /usr/share/common-licenses/GPL-2.
"""
CHANGELOG = """\
{name} ({version}) unstable; urgency=medium

  * Built from commit {commit}. What is new: CHANGELOG.md of the project.

 -- {maintainer}  {date}
"""


@dataclass(frozen=True, slots=True)
class Build:
    """What all packages of a build have: epoch is the time in them, in seconds."""

    version: str
    commit: str
    epoch: int
    compiler: Compiler

    @property
    def told(self) -> str:
        return f"{self.version} ({self.commit})" if self.commit else self.version


def make(recipe: Recipe, build: Build, tree: Path) -> str:
    """Fill the folder; return the package's architecture. Raises CompileError."""
    copy_modules(recipe, build, tree)
    for source, target in recipe.files:
        copy(ROOT / source, tree / target)
    for path, module in recipe.commands.items():
        write(tree / path, RUN.format(home=HOME, module=module), 0o755)
    made = []
    for path, kind in recipe.compiled.items():
        made.append(tree / path)
        made[-1].parent.mkdir(parents=True, exist_ok=True)
        if kind == "siit":
            build.compiler.siit(made[-1])
        else:
            build.compiler.relay(made[-1], build.told)
        made[-1].chmod(0o755 if kind == "relay" else 0o644)
    for folder in recipe.folders:
        (tree / folder).mkdir(parents=True)
    documents(recipe, build, tree)
    control(recipe, build, tree, build.compiler.libc(made) if made else "")
    finish(tree, build.epoch)
    return build.compiler.architecture if made else "all"


def copy_modules(recipe: Recipe, build: Build, tree: Path) -> None:
    for entry in recipe.modules:
        room, _, names = entry.partition(":")
        listed = set(names.lstrip("-").split(",")) if names else set()
        target = tree / HOME / room
        target.mkdir(parents=True, exist_ok=True)
        for file in sorted((ROOT / room).glob("*.py")):
            is_wanted = not names or (file.stem in listed) != names.startswith("-")
            if is_wanted and file.stem not in ("_build", "build"):
                shutil.copyfile(file, target / file.name)
    version = tree / HOME / "runtime/version.py"
    if version.exists():
        text = version.read_text().replace('COMMIT = ""', f'COMMIT = "{build.commit}"')
        lines = [
            f'VERSION = "{build.version}"' if line.startswith("VERSION = ") else line
            for line in text.split("\n")
        ]
        version.write_text("\n".join(lines))


def copy(source: Path, target: Path) -> None:
    """Copy a file into a folder, or a folder's content but for what is OpenWrt's."""
    if source.is_file():
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target / source.name)
        return
    for file in sorted(source.rglob("*")):
        relative = file.relative_to(source)
        if file.is_file() and "__pycache__" not in relative.parts and not is_of_openwrt(file):
            (target / relative).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, target / relative)


def is_of_openwrt(file: Path) -> bool:
    return file.is_relative_to(ROOT / "files/464xlat/lib/464xlat/role.d")


def write(path: Path, text: str | bytes, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)


def documents(recipe: Recipe, build: Build, tree: Path) -> None:
    """The manual pages, the licence and the changelog."""
    day = time.strftime("%Y-%m-%d", time.gmtime(build.epoch))
    for place, (about, words) in recipe.manuals.items():
        section, _, name = place.partition("/")
        text = manual.page(name, section, about, told_by(words), build.version, day)
        write(
            tree / f"usr/share/man/man{section}/{name}.{section}.gz", gzip.compress(text.encode(), 9, mtime=0)
        )
    folder = tree / "usr/share/doc" / recipe.name
    is_bpf = "siit" in recipe.modules
    licence = (ROOT / "LICENSES/ISC.txt").read_text().split("\n\n", 1)[1]
    folded = "".join(f" {line.strip() or '.'}\n" for line in licence.strip().splitlines())
    write(folder / "copyright", COPYRIGHT + folded + (OF_BPF if is_bpf else ""))
    date = formatdate(build.epoch)
    values = {"name": recipe.name, "version": build.version, "commit": build.commit or "unknown"}
    text = CHANGELOG.format(**values, maintainer=MAINTAINER, date=date)
    write(folder / "changelog.gz", gzip.compress(text.encode(), 9, mtime=0))


def told_by(words: tuple[str, ...]) -> list[str]:
    """What a command of this checkout says; `python` is this interpreter."""
    command = [sys.executable if words[0] == "python" else words[0], *words[1:]]
    environment = {**os.environ, "COLUMNS": "79", "XLAT464": f"{sys.executable} -m xlat464"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def control(recipe: Recipe, build: Build, tree: Path, libc: str) -> None:
    values = {"version": build.version, "libc": libc}
    size = sum(file.stat().st_size for file in tree.rglob("*") if file.is_file())
    fields = {
        "Package": recipe.name,
        "Version": build.version,
        "Architecture": build.compiler.architecture if recipe.compiled else "all",
        "Maintainer": MAINTAINER,
        "Installed-Size": str(-(-size // 1024)),
        "Section": "python" if recipe.name.startswith("python3-") else "net",
        "Priority": "optional",
        "Depends": ", ".join(each.format(**values) for each in recipe.depends),
        "Recommends": recipe.recommends,
        "Suggests": recipe.suggests,
        "Conflicts": recipe.replaces,
        "Replaces": recipe.replaces,
        "Description": "\n".join([recipe.summary, *(f" {line}" for line in textwrap.wrap(recipe.about, 78))]),
    }
    write(tree / "DEBIAN/control", "".join(f"{name}: {value}\n" for name, value in fields.items() if value))
    for name, text in scripts(recipe).items():
        write(tree / "DEBIAN" / name, text, 0o755)
    if recipe.conffiles:
        write(tree / "DEBIAN/conffiles", "".join(f"{path}\n" for path in recipe.conffiles))
    files = [file for file in sorted(tree.rglob("*")) if file.is_file() and "DEBIAN" not in file.parts]
    sums = [f"{hashlib.md5(file.read_bytes()).hexdigest()}  {file.relative_to(tree)}\n" for file in files]
    write(tree / "DEBIAN/md5sums", "".join(sums))


def finish(tree: Path, epoch: int) -> None:
    """Modes and dates that do not depend on who builds."""
    for path in [tree, *sorted(tree.rglob("*"))]:
        if path.is_dir():
            path.chmod(0o755)
        else:
            path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
        os.utime(path, (epoch, epoch))
