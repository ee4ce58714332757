# SPDX-License-Identifier: ISC
"""Fetch Debian 13's micropython, with its own libc, into build/micropython: a process of its own to measure.

The one from PyPI lives inside a CPython process, so its resident size says nothing. Debian 12 has no
package of it, hence the newer one, unpacked beside the system and started by its own loader. Nothing is installed; a
second call finds what the first one left.
"""

import re
from pathlib import Path

from sdk.debian.apt import SUITE, Apt, AptError, run

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / "build" / "micropython"


def command():
    """Return the words that start the standalone MicroPython; fetches it first when it is not there.

    Raises AptError with what apt or the binary said.
    """
    words = _words()
    if words is None:
        _fetch()
        words = _words()
    if words is None:
        raise AptError(f"no micropython binary in {HOME} after unpacking")
    said = run([*words, "-c", "print(6*7)"])
    if said.strip() != "42":
        raise AptError(f"the standalone micropython answered {said.strip()!r}")
    return words


def _words():
    loaders = sorted((HOME / "root").glob("**/ld-linux*.so.*"))
    binary = HOME / "root" / "usr" / "bin" / "micropython"
    if not binary.exists() or not loaders:
        return None
    libraries = sorted({str(path.parent) for path in (HOME / "root").glob("**/*.so*")})
    return [str(loaders[0]), "--library-path", ":".join(libraries), str(binary)]


def _fetch():
    """Unpack the packages below build/micropython/root."""
    apt = Apt(HOME)
    (HOME / "root").mkdir(exist_ok=True)
    apt.get("update")
    apt.get("download", *_needed(apt), cwd=HOME / "archives")
    for package in sorted((HOME / "archives").glob("*.deb")):
        run(["dpkg-deb", "-x", str(package), str(HOME / "root")])


def _needed(apt):
    """Return the packages to fetch: micropython and all that it depends on."""
    leave_out = [
        f"--no-{kind}" for kind in ("recommends", "suggests", "enhances", "conflicts", "breaks", "replaces")
    ]
    said = apt.cache("depends", "--recurse", *leave_out, "micropython")
    names = set(re.findall(r"^[a-z0-9][a-z0-9+.-]*$", said, re.MULTILINE))
    for line in said.splitlines():
        match = re.fullmatch(r"\s*(?:Pre)?Depends: ([a-z0-9][a-z0-9+.-]*)", line)
        if match:
            names.add(match.group(1))
    if "micropython" not in names:
        raise AptError(f"the suite {SUITE} of this machine's mirror has no micropython")
    return sorted(names)


if __name__ == "__main__":
    print(" ".join(command()))
