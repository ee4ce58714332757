# SPDX-License-Identifier: ISC
"""`make pictures`: what the README shows, of a lab that is up for it."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from sdk.browser import Browser, BrowserError
from sdk.interrupt import handle_requests
from sdk.lab.lab import Lab
from sdk.lab.machine import REPOSITORY, LabError
from sdk.lab.site import EXAMPLE
from sdk.lab.topology_reader import load_topology, topology_file
from sdk.watch.mesh import WatchedMesh
from sdk.watch.run import serve

FOLDER = REPOSITORY / "docs/pictures"
WIDTH, HEIGHT = 1100, 620
QUIET = "Array.from(places.values()).every(at => at.toX === undefined || Math.hypot(at.toX - at.x, at.toY - at.y) < 1)"
SAW_BOTH = (
    "picture.nodes.every(node => node.role !== 'clat' || node.why && node.why.startsWith('lowest metric'))"
)


def place(browser: Browser, kind: str, name: str) -> tuple[float, float]:
    x, y = browser.ask(f"(({{x, y}}) => [x, y])(place('{kind}', '{name}'))")
    return x, y


def take(browser: Browser, name: str) -> None:
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.png").write_bytes(browser.picture())
    print(f"docs/pictures/{name}.png")


def watch_pictures(browser: Browser, address: str) -> None:
    """A client walks, then the exit in use fails: a person would do it with the mouse, and so does this."""
    browser.open(address)
    browser.wait(SAW_BOTH, 90)
    browser.drag(place(browser, "client", "laptop"), place(browser, "node", "b"))
    browser.wait("picture.clients.find(each => each.name === 'laptop').node === 'b'")
    browser.wait(QUIET)
    browser.click(*place(browser, "client", "laptop"))
    take(browser, "watch-roam")
    browser.click(*place(browser, "node", "north"))
    browser.ask("document.querySelector('#chosen button').click()")
    browser.wait("picture.nodes.every(node => node.role !== 'clat' || node.exit === 'south')", 60)
    browser.wait("picture.clients.every(each => each.breaks && each.stall_ms < 100)", 60)
    take(browser, "watch-exit")


def status_picture(lab: Lab, browser: Browser) -> None:
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        page.write_text(lab.exec("b", ["464xlat", "status", "--html"]).stdout)
        browser.open(page.as_uri())
        browser.wait("document.readyState === 'complete' && document.querySelectorAll('pre').length === 4")
        take(browser, "status")


def main() -> int:
    handle_requests()
    files = str(topology_file("diamond")), str(EXAMPLE)
    lab = Lab(load_topology("diamond"), name=f"pictures-{os.getpid()}", files=files)
    try:
        with lab:
            lab.wait_ready()
            mesh = WatchedMesh(lab.name)
            server, watch = serve(mesh)
            with Browser(WIDTH, HEIGHT) as browser:
                watch.start()
                watch_pictures(browser, server.address)
                status_picture(lab, browser)
            watch.end()
            mesh.close()
    except (LabError, BrowserError, subprocess.SubprocessError) as error:
        print(f"pictures: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
