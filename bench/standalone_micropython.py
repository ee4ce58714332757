# SPDX-License-Identifier: ISC
"""Fetch Debian 13's micropython, with its own libc, into build/micropython: a process of its own to measure.

The one from PyPI lives inside a CPython process, so its resident size says nothing. Debian 12 has no
package of it, hence the newer one, from the very mirror that this machine's apt uses, unpacked beside the
system and started by its own loader. Nothing is installed; a second call finds what the first one left.
"""

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / "build" / "micropython"
SUITE = "trixie"
APT_TIMEOUT_S = 240


def command():
    """Return the words that start the standalone MicroPython; fetches it first when it is not there.

    Raises RuntimeError with what apt or the binary said.
    """
    words = _words()
    if words is None:
        _fetch()
        words = _words()
    if words is None:
        raise RuntimeError(f"no micropython binary in {HOME} after unpacking")
    said = _run([*words, "-c", "print(6*7)"])
    if said.strip() != "42":
        raise RuntimeError(f"the standalone micropython answered {said.strip()!r}")
    return words


def _words():
    loaders = sorted((HOME / "root").glob("**/ld-linux*.so.*"))
    binary = HOME / "root" / "usr" / "bin" / "micropython"
    if not binary.exists() or not loaders:
        return None
    libraries = sorted({str(path.parent) for path in (HOME / "root").glob("**/*.so*")})
    return [str(loaders[0]), "--library-path", ":".join(libraries), str(binary)]


def _fetch():
    """Unpack the packages below build/micropython/root, with an apt that knows the newer suite only."""
    for folder in ("lists/partial", "archives/partial", "state", "root"):
        (HOME / folder).mkdir(parents=True, exist_ok=True)
    (HOME / "state" / "status").touch()
    sources = HOME / "newer.sources"
    sources.write_text(_sources())
    options = [
        f"Dir::Etc::sourcelist={sources}",
        "Dir::Etc::sourceparts=/dev/null",
        "Dir::Etc::preferencesparts=/dev/null",
        f"Dir::State={HOME / 'state'}",
        f"Dir::State::status={HOME / 'state' / 'status'}",
        f"Dir::State::lists={HOME / 'lists'}",
        f"Dir::Cache={HOME}",
        f"Dir::Cache::archives={HOME / 'archives'}",
        "APT::Sandbox::User=root",
        "Acquire::Languages=none",
    ]
    flags = [word for option in options for word in ("-o", option)]
    _run(["apt-get", "-q", *flags, "update"])
    _run(["apt-get", "-q", *flags, "download", *_needed(flags)], cwd=HOME / "archives")
    for package in sorted((HOME / "archives").glob("*.deb")):
        _run(["dpkg-deb", "-x", str(package), str(HOME / "root")])


def _needed(flags):
    """Return the packages to fetch: micropython and all that it depends on."""
    leave_out = [
        f"--no-{kind}" for kind in ("recommends", "suggests", "enhances", "conflicts", "breaks", "replaces")
    ]
    said = _run(["apt-cache", *flags, "depends", "--recurse", *leave_out, "micropython"])
    names = set(re.findall(r"^[a-z0-9][a-z0-9+.-]*$", said, re.MULTILINE))
    for line in said.splitlines():
        match = re.fullmatch(r"\s*(?:Pre)?Depends: ([a-z0-9][a-z0-9+.-]*)", line)
        if match:
            names.add(match.group(1))
    if "micropython" not in names:
        raise RuntimeError(f"the suite {SUITE} of this machine's mirror has no micropython")
    return sorted(names)


def _sources():
    """Return a deb822 source of this machine's own mirror, with the newer suite in the place of its own."""
    codename = re.search(r"^VERSION_CODENAME=(\S+)", Path("/etc/os-release").read_text(), re.MULTILINE)
    if codename is None:
        raise RuntimeError("/etc/os-release has no VERSION_CODENAME: this is no Debian release")
    own = codename.group(1)
    for path in sorted(Path("/etc/apt/sources.list.d").glob("*.sources")):
        for stanza in re.split(r"\n\s*\n", path.read_text()):
            fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.*)$", stanza, re.MULTILINE))
            if own in fields.get("Suites", "").split():
                signed = f"Signed-By: {fields['Signed-By']}\n" if fields.get("Signed-By") else ""
                return f"Types: deb\nURIs: {fields['URIs']}\nSuites: {SUITE}\nComponents: main\n{signed}"
    for path in [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*.list"))]:
        if path.exists():
            match = re.search(
                rf"^deb\s+(?:\[.*?\]\s+)?(\S+)\s+{own}\s+.*\bmain\b", path.read_text(), re.MULTILINE
            )
            if match:
                return f"Types: deb\nURIs: {match.group(1)}\nSuites: {SUITE}\nComponents: main\n"
    raise RuntimeError(f"no apt source of the suite {own}: cannot tell which mirror this machine uses")


def _run(words, cwd=None):
    done = subprocess.run(
        words,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=APT_TIMEOUT_S,
        env={**os.environ, "LC_ALL": "C"},
    )
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no message"]
        raise RuntimeError(f"{' '.join(words[:2])}: {last[0]}")
    return done.stdout


if __name__ == "__main__":
    print(" ".join(command()))
