# SPDX-License-Identifier: ISC
"""Where a roamed client is: what the platnode's core decides and its rules carry out. No I/O."""

from runtime.record import record


@record("home at was lease_s serial")
class Mapping:
    """A roamed client on its platnode. home, at, was: `CLAT::ipv4`, 16 bytes each; lease_s: seconds left."""

    home: bytes
    at: bytes
    was: bytes | None
    lease_s: int
    serial: int
