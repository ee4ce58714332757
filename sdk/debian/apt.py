# SPDX-License-Identifier: ISC
"""An apt of our own for another suite, from the very mirror that this machine's apt uses. Nothing is installed.

Its lists and its files are in a folder; the machine's own lists, settings and packages are neither read nor changed.
"""

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

SUITE = "trixie"  # Debian 13
TIMEOUT_S = 240
SOURCES = Path("/etc/apt/sources.list.d")
RELEASE = Path("/etc/os-release")


class AptError(RuntimeError):
    """apt could not do it: one sentence for people."""


class Apt:
    """apt-get and apt-cache for one suite; kind "deb" for packages, "deb-src" for their sources."""

    def __init__(self, home: Path, suite: str = SUITE, kind: str = "deb"):
        self.home = home
        for folder in ("lists/partial", "archives/partial", "state"):
            (home / folder).mkdir(parents=True, exist_ok=True)
        (home / "state/status").touch()
        sources = home / "suite.sources"
        sources.write_text(source(suite, kind))
        options = [
            f"Dir::Etc::sourcelist={sources}",
            "Dir::Etc::sourceparts=/dev/null",
            "Dir::Etc::preferencesparts=/dev/null",
            f"Dir::State={home / 'state'}",
            f"Dir::State::status={home / 'state/status'}",
            f"Dir::State::lists={home / 'lists'}",
            f"Dir::Cache={home}",
            f"Dir::Cache::archives={home / 'archives'}",
            "APT::Sandbox::User=root",
            "APT::Update::Error-Mode=any",
            "Acquire::Languages=none",
            "Acquire::Retries=3",
        ]
        self.flags = [word for option in options for word in ("-o", option)]

    def get(self, *words: str, cwd: Path | None = None) -> str:
        """Run apt-get; return what it said. Raises AptError."""
        return run(["apt-get", "-q", *self.flags, *words], cwd)

    def cache(self, *words: str) -> str:
        """Run apt-cache; return what it said. Raises AptError."""
        return run(["apt-cache", *self.flags, *words])


def mirror() -> tuple[str, str]:
    """Return the address of the mirror that this machine's apt uses, and its keyring, "" where none is named.

    Raises AptError where this is no Debian release, or its source cannot be told.
    """
    codename = re.search(r"^VERSION_CODENAME=(\S+)", RELEASE.read_text(), re.MULTILINE)
    if codename is None:
        raise AptError("/etc/os-release has no VERSION_CODENAME: this is no Debian release")
    own = codename[1]
    for path in sorted(SOURCES.glob("*.sources")):
        for stanza in re.split(r"\n\s*\n", path.read_text()):
            fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.*)$", stanza, re.MULTILINE))
            if own in fields.get("Suites", "").split():
                return fields["URIs"].split()[0], fields.get("Signed-By", "")
    for path in [SOURCES.parent / "sources.list", *sorted(SOURCES.glob("*.list"))]:
        if path.exists():
            found = re.search(
                rf"^deb\s+(?:\[.*?\]\s+)?(\S+)\s+{own}\s+.*\bmain\b", path.read_text(), re.MULTILINE
            )
            if found:
                return found[1], ""
    raise AptError(f"no apt source of the suite {own}: cannot tell which mirror this machine uses")


def source(suite: str, kind: str) -> str:
    """Return the text of a deb822 source of this machine's mirror for another suite."""
    address, keyring = mirror()
    signed = f"Signed-By: {keyring}\n" if keyring else ""
    return f"Types: {kind}\nURIs: {address}\nSuites: {suite}\nComponents: main\n{signed}"


def run(words: Sequence[str], cwd: Path | None = None) -> str:
    """Run a command; return what it said. Raises AptError with the last line that it complained in."""
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            words, cwd=cwd, capture_output=True, text=True, timeout=TIMEOUT_S, env=environment
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AptError(f"{words[0]}: {error}") from error
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no message"]
        raise AptError(f"{words[0]}: {last[0]}")
    return done.stdout
