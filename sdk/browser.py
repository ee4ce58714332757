# SPDX-License-Identifier: ISC
"""A Chromium without a screen, told what to do as Chrome's DevTools protocol has it, over a pipe.

It has a profile of its own, which goes with it, and it ends with this process at the latest.
"""

import base64
import contextlib
import itertools
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from types import TracebackType
from typing import Any

from sdk.lab.machine import die_with_parent
from sdk.timeouts import TIMEOUT_SCALE

NAMES = ("chromium", "chromium-headless-shell", "google-chrome")
ANSWER_S = 60 * TIMEOUT_SCALE
END_S = 10 * TIMEOUT_SCALE
TO_BROWSER, FROM_BROWSER = 3, 4  # descriptors that it reads from and writes to


class BrowserError(RuntimeError):
    """It does not do what it was told: one sentence."""


def find() -> str | None:
    """Return the path of a Chromium, None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page in a Chromium. Raises BrowserError from every method, also where none is installed."""

    def __init__(self, width: int = 1280, height: int = 800):
        program = find()
        if program is None:
            raise BrowserError("there is no Chromium: apt-get install chromium")
        self.profile = tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True)
        its_input, self.to = os.pipe()
        self.back, its_output = os.pipe()
        end = die_with_parent(os.getpid())

        def prepare() -> None:
            end()
            one, other = os.dup(its_input), os.dup(its_output)  # neither is in the other's place then
            os.dup2(one, TO_BROWSER)
            os.dup2(other, FROM_BROWSER)

        words = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--remote-debugging-pipe",
        ]
        self.process = subprocess.Popen(
            [program, *words, f"--user-data-dir={self.profile.name}", f"--window-size={width},{height}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(TO_BROWSER, FROM_BROWSER),
            preexec_fn=prepare,
        )
        os.close(its_input)
        os.close(its_output)
        self.numbers = itertools.count(1)
        self.rest = b""
        self.errors: list[str] = []  # of the page's scripts, and what it was not allowed
        self.session: str | None = None
        try:
            target = self.do("Target.createTarget", url="about:blank")["targetId"]
            self.session = self.do("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for each in ("Page", "Runtime", "Log"):
                self.do(f"{each}.enable")
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            self.do("Emulation.setDeviceMetricsOverride", **size)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Browser":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        with contextlib.suppress(BrowserError, OSError):
            self.session = None
            self.do("Browser.close")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(END_S)  # by itself it leaves nothing that writes into its profile
        self.process.kill()
        self.process.wait()
        os.close(self.to)
        os.close(self.back)
        self.profile.cleanup()

    def do(self, method: str, **values: Any) -> dict[str, Any]:
        """Carry out a method of the protocol; return its result."""
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": values}
        os.write(
            self.to,
            json.dumps(message | ({"sessionId": self.session} if self.session else {})).encode() + b"\0",
        )
        deadline = time.monotonic() + ANSWER_S
        while True:
            heard = self.hear(deadline, method)
            if heard.get("id") == number:
                if "error" in heard:
                    raise BrowserError(f"{method}: {heard['error']['message']}")
                result: dict[str, Any] = heard["result"]
                return result
            self.note(heard)

    def hear(self, deadline: float, method: str) -> dict[str, Any]:
        while b"\0" not in self.rest:
            if not select.select([self.back], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise BrowserError(f"{method} has no answer")
            data = os.read(self.back, 1 << 20)
            if not data:
                raise BrowserError("Chromium has ended")
            self.rest += data
        line, _, self.rest = self.rest.partition(b"\0")
        heard: dict[str, Any] = json.loads(line)
        return heard

    def note(self, heard: dict[str, Any]) -> None:
        said = heard.get("params", {})
        if heard.get("method") == "Runtime.exceptionThrown":
            details = said["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description") or details["text"])
        elif heard.get("method") == "Log.entryAdded" and said["entry"]["level"] == "error":
            self.errors.append(said["entry"]["text"])

    # What a person does

    def open(self, address: str) -> None:
        self.do("Page.navigate", url=address)

    def ask(self, script: str) -> Any:
        """Return what an expression of the page is worth, as JSON has it; promises are waited for."""
        done = self.do("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in done:
            raise BrowserError(
                f"{script}: {done['exceptionDetails'].get('exception', {}).get('description')}"
            )
        return done["result"].get("value")

    def wait(self, script: str, within_s: float = 30) -> Any:
        """Ask until the answer is true; return it."""
        deadline = time.monotonic() + within_s * TIMEOUT_SCALE
        while time.monotonic() < deadline:
            with contextlib.suppress(BrowserError):  # the page is not that far
                if answer := self.ask(script):
                    return answer
            time.sleep(0.05)
        raise BrowserError(f"not within {within_s:g} s: {script}")

    def mouse(self, kind: str, x: float, y: float) -> None:
        """kind: Pressed, Moved or Released."""
        pressed = {"button": "left", "buttons": 1, "clickCount": 1}
        self.do("Input.dispatchMouseEvent", type=f"mouse{kind}", x=x, y=y, **pressed)

    def click(self, x: float, y: float) -> None:
        self.mouse("Pressed", x, y)
        self.mouse("Released", x, y)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        self.mouse("Pressed", *start)
        for part in (0.25, 0.5, 0.75, 1):
            x, y = (a + (b - a) * part for a, b in zip(start, end, strict=True))
            self.mouse("Moved", x, y)
        self.mouse("Released", *end)

    def picture(self) -> bytes:
        """Return a PNG of the page."""
        return base64.b64decode(self.do("Page.captureScreenshot", format="png")["data"])
