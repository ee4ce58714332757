# SPDX-License-Identifier: ISC
"""sd_notify(3): how a daemon is, for `systemctl status`. Nothing where systemd has not started it."""

import os
import socket


def tell(sentence: str) -> None:
    """Say that the daemon is ready, the first time, and how it is."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path[:1] not in ("/", "@"):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sending:
        try:
            sending.sendto(f"READY=1\nSTATUS={sentence}".encode(), path.replace("@", "\0", 1))
        except OSError:
            pass  # it is no less ready for that
