# SPDX-License-Identifier: ISC
"""A program on a machine that is told a line at a time, and answers each with a Python value."""

import subprocess
import sys
import textwrap

from sdk.timeouts import TIMEOUT_SCALE

END_S = 60 * TIMEOUT_SCALE


class Asked:
    """Whoever has such a program. It says `ready` first, and ends when its input does."""

    process = None

    def begin(self, machine, program):
        self.process = subprocess.Popen(
            machine.words([sys.executable, "-c", textwrap.dedent(program)]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout.readline() == "ready\n"

    def say(self, words):
        print(words, file=self.process.stdin, flush=True)

    def hear(self):
        return eval(self.process.stdout.readline())

    def do(self, words):
        self.say(words)
        return self.hear()

    def close(self):
        if self.process:
            self.process.stdin.close()
            self.process.wait(END_S)
            self.process.stdout.close()
