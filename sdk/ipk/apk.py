# SPDX-License-Identifier: ISC
"""The same packages for apk, which OpenWrt's main branch has in opkg's place: `python -m sdk.ipk --apk`.

apk's own program makes the archives; here is what OpenWrt's package-pack.mk tells it. opkg's notes on files are files
of the package there, in lib/apk/packages, and each script is whole, without files that it includes.

layout(), scripts(), info()   what a package is   pure
pack(), index()               the program apk
"""

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from sdk.ipk import archive, control

NOTES = "lib/apk/packages"
# of OpenWrt's scripts; IPKG_INSTROOT is the image's root while it is built
HEAD = """\
[ -s ${{IPKG_INSTROOT}}/lib/functions.sh ] || exit 0
. ${{IPKG_INSTROOT}}/lib/functions.sh
export root="${{IPKG_INSTROOT}}"
export pkgname="{name}"
"""
NOT_WANTED = '[ "${IPKG_NO_SCRIPT}" = "1" ] && exit 0\n'


class ApkError(Exception):
    """apk is not there, or did not take a package: one sentence."""


def versioned(provides: str, version: str) -> list[str]:
    """Return what a package provides: a name with @ before it has no version, as in OpenWrt."""
    return [word[1:] if word.startswith("@") else f"{word}={version}" for word in provides.split()]


def extra(words: str) -> list[str]:
    """Return a Makefile's EXTRA_DEPENDS, `NAME (>=VERSION), ...`, as apk has them.

    Raises ApkError for one without a version, which OpenWrt's build ends with since its move to apk.
    """
    found = [re.fullmatch(r"(\S+) \((\S+)\)", word.strip()) for word in words.split(",")] if words else []
    if None in found:
        raise ApkError(f"EXTRA_DEPENDS is {words!r}, expected a version behind each name, as in `name (>0)`")
    return ["".join(match.groups()) for match in found if match]


def info(fields: Mapping[str, str], description: str, symbols: Iterable[str]) -> dict[str, str]:
    """Return apk's fields of a package. As in OpenWrt, what it conflicts with is no field: EXTRA_DEPENDS says it."""
    needs = control.depends(fields["Depends"], symbols)
    provides = [f"{fields['Package']}-any", *versioned(fields["Provides"], fields["Version"])]
    return {
        "name": fields["Package"],
        "version": fields["Version"],
        "tags": f"openwrt:section={fields['Section']}",
        "description": " ".join(description.split()) or fields["Title"],
        "arch": "noarch" if fields["Architecture"] == "all" else fields["Architecture"],
        "license": fields["License"],
        "origin": fields["SourceName"],
        "maintainer": fields["Maintainer"],
        "provides": " ".join(provides),
        "depends": " ".join([*extra(fields["Extra-Depends"]), *needs]),
    }


def scripts(name: str, given: Mapping[str, str]) -> dict[str, str]:
    """Return apk's scripts, by the moment of each; given are the Makefile's, by opkg's names."""
    own = {
        moment: "".join(line for line in text.splitlines(True) if not line.lstrip().startswith("#!")).lstrip(
            "\n"
        )
        for moment, text in given.items()
    }
    head = HEAD.format(name=name)
    after = f"{NOT_WANTED}{head}add_group_and_user\ndefault_postinst\n{own.get('postinst', '')}"
    found = {
        "post-install": after,
        "post-upgrade": f"export PKG_UPGRADE=1\n{after}",
        "pre-deinstall": f"{head}default_prerm\n{own.get('prerm', '')}",
    }
    if "preinst" in own:
        found |= {"pre-install": own["preinst"], "pre-upgrade": f"export PKG_UPGRADE=1\n{own['preinst']}"}
    if "postrm" in own:
        found["post-deinstall"] = own["postrm"]
    return {moment: f"#!/bin/sh\n{text}" for moment, text in found.items()}


def notes(name: str, files: Mapping[str, bytes], conffiles: Iterable[str]) -> dict[str, str]:
    """Return the files of NOTES: what the package has, and which of it are settings; files by path from the root."""
    found = {f"{name}.list": "".join(f"{path}\n" for path in sorted(files))}
    settings = list(conffiles)
    if settings:
        found[f"{name}.conffiles"] = "".join(f"{path}\n" for path in settings)
        found[f"{name}.conffiles_static"] = "".join(
            f"{path} {hashlib.sha256(files[path]).hexdigest()}\n" for path in settings if path in files
        )
    return found


def layout(data: Path, root: Path, epoch: int) -> dict[str, bytes]:
    """Copy a package's files to root, with the modes that they have in an ipk; return them by path from the root."""
    files = {}
    for member, content in archive.folder_members(data, epoch):
        path = root / member.name
        if member.isdir():
            path.mkdir(exist_ok=True)
        elif member.issym():
            path.symlink_to(member.linkname)
        else:
            path.write_bytes(content)
        if not member.issym():
            path.chmod(member.mode)
            os.utime(path, (epoch, epoch))
        if not member.isdir():
            files[member.name[1:]] = content
    return files


def program() -> str:
    """The program apk. Raises ApkError if there is none, or one of before packages were like OpenWrt's."""
    found = os.environ.get("APK") or shutil.which("apk")
    if found is None:
        raise ApkError("there is no program apk, expected one of apk-tools 3: say APK=/path/to/apk")
    said = subprocess.run([found, "--version"], capture_output=True, text=True).stdout
    if not said.startswith("apk-tools 3"):
        raise ApkError(f"{found} says {said.strip()!r}, expected one of apk-tools 3")
    return found


def run(*words: str, epoch: int) -> None:
    """Run apk, as root or so that files look like root's. Raises ApkError."""
    before = []
    if os.geteuid() != 0:
        if shutil.which("fakeroot") is None:
            raise ApkError("files in packages are root's, expected root or the program fakeroot")
        before = ["fakeroot"]
    done = subprocess.run(
        [*before, program(), *words],
        env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise ApkError(f"apk {words[0]} failed: {done.stdout.strip()}")


def pack(tree: Path, out: Path, symbols: list[str], epoch: int) -> Path:
    """Make the archive of one package from its folders. Raises ApkError."""
    fields = control.parse_fields((tree / "control/fields").read_text())
    texts = {path.name: path.read_text() for path in (tree / "control").iterdir()}
    name = fields["Package"]
    work = out / "apk" / name
    root = work / "root"
    root.mkdir(parents=True)
    files = layout(tree / "data", root, epoch)
    (root / NOTES).mkdir(parents=True, exist_ok=True)
    for note, text in notes(name, files, texts.get("conffiles", "").split()).items():
        (root / NOTES / note).write_text(text)
    for path in (root / NOTES).iterdir():
        path.chmod(0o644)
    for folder in (root, *(path for path in root.rglob("*") if path.is_dir() and not path.is_symlink())):
        folder.chmod(0o755)
    given = {key: text for key, text in texts.items() if key in archive.SCRIPTS}
    words = [
        f"--info={key}:{value}" for key, value in info(fields, texts.get("description", ""), symbols).items()
    ]
    for moment, text in scripts(name, given).items():
        (work / moment).write_text(text)
        (work / moment).chmod(0o755)
        words += ["--script", f"{moment}:{work / moment}"]
    file = out / f"{name}-{fields['Version']}.apk"
    run("mkpkg", *words, "--files", str(root), "--output", str(file), epoch=epoch)
    return file


def index(files: Iterable[Path], out: Path, epoch: int) -> None:
    """Make the index of packages that apk reads. It is not signed: `apk --allow-untrusted`. Raises ApkError."""
    words = ["mkndx", "--allow-untrusted", "--output", str(out / "packages.adb"), *map(str, files)]
    run(*words, epoch=epoch)
