# SPDX-License-Identifier: ISC
"""WireGuard keys beside the description: keys/END.key (private, mode 600, where it was made) and keys/END.pub.

A private key leaves its machine never; the .pub files are what the ends exchange. X25519 is RFC 7748, written out
here because the machine that makes keys need not have the `wg` command. It is for making keys, a few in a lifetime,
and does not run in constant time.
"""

import base64
import binascii
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from reach.reading import Finding

PRIME = 2**255 - 19
BASE_POINT = (9).to_bytes(32, "little")
KEY_BYTES = 32
NO_KEY = "no WireGuard key: expected 44 characters that end in ="


class KeyProblem(ValueError):
    """A key file that cannot be used; one sentence."""


def x25519(scalar: bytes, point: bytes) -> bytes:
    """RFC 7748 section 5, the Montgomery ladder."""
    k = bytearray(scalar)
    k[0] &= 248
    k[31] = (k[31] & 127) | 64
    number = int.from_bytes(k, "little")
    x1 = int.from_bytes(point, "little") & (2**255 - 1)
    x2, z2, x3, z3 = 1, 0, x1, 1
    for t in reversed(range(255)):
        bit = number >> t & 1
        if bit:
            x2, z2, x3, z3 = x3, z3, x2, z2
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        da, cb, aa, bb = d * a, c * b, a * a, b * b
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % PRIME, x1 * (da - cb) ** 2 % PRIME
        x2, z2 = aa * bb % PRIME, e * (aa + 121665 * e) % PRIME
        if bit:
            x2, z2, x3, z3 = x3, z3, x2, z2
    return (x2 * pow(z2, PRIME - 2, PRIME) % PRIME).to_bytes(KEY_BYTES, "little")


def public_of(private: str) -> str:
    return base64.b64encode(x25519(decode(private), BASE_POINT)).decode()


def make(random: Callable[[int], bytes] = os.urandom) -> str:
    """A new private key, clamped as `wg genkey` clamps it."""
    k = bytearray(random(KEY_BYTES))
    k[0] &= 248
    k[31] = (k[31] & 127) | 64
    return base64.b64encode(k).decode()


def decode(key: str) -> bytes:
    try:
        found = base64.b64decode(key.strip(), validate=True)
    except binascii.Error:
        found = b""
    if len(found) != KEY_BYTES:
        raise KeyProblem(NO_KEY)
    return found


@dataclass(frozen=True, slots=True)
class Keys:
    """What the folder has: this machine's private keys, everybody's public ones, by end."""

    private: dict[str, str]
    public: dict[str, str]


def read(folder: Path, ends: Iterable[str]) -> tuple[Keys, list[Finding]]:
    """The keys in the folder, and what is wrong with them. A file that is not there is no mistake yet."""
    private: dict[str, str] = {}
    public: dict[str, str] = {}
    findings = []
    for end in ends:
        for suffix, into in ((".key", private), (".pub", public)):
            path = folder / f"{end}{suffix}"
            try:
                into[end] = base64.b64encode(decode(path.read_text("ascii"))).decode()
            except FileNotFoundError:
                continue
            except OSError as error:
                findings.append(Finding(str(path), f"cannot be read: {error.strerror}"))
                continue
            except (UnicodeDecodeError, KeyProblem):
                findings.append(Finding(str(path), NO_KEY))
                continue
            if suffix == ".key" and path.stat().st_mode & 0o077:
                findings.append(Finding(str(path), f"others may read this private key; chmod 600 {path}"))
        if end in private and public.setdefault(end, public_of(private[end])) != public_of(private[end]):
            findings.append(
                Finding(f"{folder}/{end}.pub", f"does not belong to {end}.key; `reach keys {end}` mends it")
            )
    return Keys(private, public), findings + twins(folder, public)


def twins(folder: Path, public: dict[str, str]) -> list[Finding]:
    found: list[Finding] = []
    owners: dict[str, str] = {}
    for end, key in public.items():
        if owners.setdefault(key, end) != end:
            found.append(Finding(f"{folder}/{end}.pub", f"is {owners[key]}'s key too; each end has its own"))
    return found


def write(folder: Path, end: str) -> str:
    """Make the end's keys where they are missing, mend its .pub; return the public key."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{end}.key"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        private = path.read_text("ascii")
    else:
        private = make()
        with os.fdopen(descriptor, "w") as file:
            file.write(private + "\n")
    public = public_of(private)
    (folder / f"{end}.pub").write_text(public + "\n")
    return public
