# SPDX-License-Identifier: ISC
"""The log of a daemon: sentences of a level. What is as it should be goes to stdout, the rest to stderr.

procd logs what comes on stdout as information, what comes on stderr as errors.
"""

import sys

from runtime import IS_MICRO

DEBUG, INFO, WARNING = 10, 20, 30


class Log:
    """level: what is below it is not said."""

    def __init__(self, program: str, level: int = INFO) -> None:
        self.program, self.level = program, level

    def say(self, level: int, sentence: str) -> None:
        if level >= self.level:
            to = sys.stderr if level >= WARNING else sys.stdout
            try:
                print(self.program + ": " + sentence, file=to)
                if not IS_MICRO:  # which keeps nothing back
                    to.flush()
            except OSError:
                pass  # who read it is gone, or the disk is full: the daemon goes on

    def debug(self, sentence: str) -> None:
        self.say(DEBUG, sentence)

    def info(self, sentence: str) -> None:
        self.say(INFO, sentence)

    def warning(self, sentence: str) -> None:
        self.say(WARNING, sentence)

    def tell_manager(self, sentence: str) -> None:
        """Have the service manager show how the daemon is: where there is one, it is ready from the first time on."""
        if not IS_MICRO:
            from runtime.notify import tell

            tell(sentence)

    def bug(self, sentence: str, error: Exception) -> None:
        """Say what of ours failed, and where."""
        self.warning(sentence)
        try:
            if IS_MICRO:
                sys.print_exception(error, sys.stderr)  # type: ignore[attr-defined]
            else:
                import traceback  # what takes a moment, and may never be needed

                traceback.print_exception(error)
        except OSError:
            pass  # as above
