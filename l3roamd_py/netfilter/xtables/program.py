# SPDX-License-Identifier: ISC
"""Programs that are run: while we go on, or to their end."""

import os
import subprocess
import tempfile
from collections.abc import Sequence

from l3roamd_py.netfilter.rules import RulesError

FINISH_S = 60  # for what has to be there before the daemon goes on, or ends


class Child:
    """A program that runs while we go on. Raises RulesError if it cannot be started."""

    def __init__(self, words: Sequence[str], stdin: str = "") -> None:
        self.words, self.said = words, bytearray()
        try:
            with tempfile.TemporaryFile() as given:
                given.write(stdin.encode())
                given.seek(0)
                self.process = subprocess.Popen(
                    words, stdin=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
                )
        except OSError as error:
            raise RulesError(f"{words[0]}: {error}") from error
        assert self.process.stdout
        os.set_blocking(self.process.stdout.fileno(), False)

    def fileno(self) -> int:
        assert self.process.stdout
        return self.process.stdout.fileno()

    def has_ended(self) -> bool:
        """Hear what it has said; whether that was all."""
        while True:
            try:
                said = os.read(self.fileno(), 1 << 16)
            except BlockingIOError:
                return False
            if not said:
                break
            self.said += said
        self.process.wait()  # it has let go of its output: it is about to end, or has
        self.close()
        return True

    def kill(self) -> None:
        """End it, and return when it has: whatever it wanted to do is done, or not begun."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        assert self.process.stdout
        self.process.stdout.close()

    @property
    def text(self) -> str:
        return self.said.decode(errors="replace")

    @property
    def complaint(self) -> str:
        first = next((line for line in self.text.splitlines() if line.strip()), "failed without a word")
        return f"{self.words[0]}: {first}"


def run(words: Sequence[str], stdin: str = "") -> str:
    """Run a program and wait; what it said. Raises RulesError with the first line of what it complained of."""
    try:
        done = subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=FINISH_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RulesError(f"{words[0]}: {error}") from error
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["failed without a word"])[0]
        raise RulesError(f"{words[0]}: {said}")
    return done.stdout
