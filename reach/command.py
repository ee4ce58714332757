# SPDX-License-Identifier: ISC
"""Other programs: run, and what they say of a failure."""

import os
import subprocess
from typing import Any


class KernelError(RuntimeError):
    """The machine does not do what a step asks for; one sentence says what and why."""


class CommandError(KernelError):
    """A command failed; `reason` is what it said."""

    def __init__(self, words: tuple[str, ...], reason: str) -> None:
        super().__init__(f"{' '.join(words[:3])}: {reason}")
        self.reason = reason.removeprefix("RTNETLINK answers: ").removeprefix("Error: ").rstrip(".")


def run(*words: str, text: str | None = None, **variables: str) -> str:
    """A command's output. Raises KernelError with what it said."""
    options: dict[str, Any] = {"input": text, "capture_output": True, "text": True, "timeout": 30}
    try:
        done = subprocess.run(words, check=False, env={**os.environ, **variables}, **options)
    except FileNotFoundError:
        raise KernelError(f"the program {words[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise KernelError(f"{words[0]} did not end within 30 s") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise CommandError(words, said[0] if said else f"failed with {done.returncode}")
    return done.stdout
