# SPDX-License-Identifier: ISC
"""Named network namespaces that end with the process that makes them, with all that runs in them, however it ends.

A shell of a session of its own makes the namespace and waits. Our end of its input is closed by end(), or by the kernel
when we are gone. Then it ends what runs in the namespace and deletes it.
"""

import subprocess
from typing import Any

# $1 the name; what is told to end may start something yet, so it is looked again
SCRIPT = """
ip netns add "$1" || exit 1
echo made
read -r _
for _ in 1 2 3 4 5 6 7 8 9 10; do
	pids=$(ip netns pids "$1") || break
	[ -n "$pids" ] || break
	kill -KILL $pids
	sleep 0.05
done
exec ip netns delete "$1"
"""


class NetworkNamespace:
    """A network namespace of a name that nobody else has; its lo is up. Raises OSError if there can be none."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._shell = subprocess.Popen(
            ["sh", "-c", SCRIPT, "sh", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C, and who kills our group, do not reach it
        )
        assert self._shell.stdout
        if self._shell.stdout.readline() != "made\n":
            reason = self._shell.communicate()[1].strip()
            raise OSError(f"no network namespace {name}: {reason}")
        subprocess.run(self.command("ip", "link", "set", "lo", "up"), check=True)

    def command(self, *words: object) -> list[str]:
        return ["ip", "netns", "exec", self.name, *map(str, words)]

    def end(self) -> None:
        """End what runs in it and delete it."""
        if self._shell.returncode is None:
            self._shell.communicate()

    def __enter__(self) -> "NetworkNamespace":
        return self

    def __exit__(self, *_: Any) -> None:
        self.end()
