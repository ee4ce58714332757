# SPDX-License-Identifier: ISC
"""`python -m sdk.router --rootfs FILE`: run three nodes of a root file system and check what a router's life brings.

The rows go to standard output, the result to build/test-openwrt.json: {"rootfs", "release", "checks": [{"name", "ok",
"detail", "ms"}…], "passed", "failed", "left_out"}.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from runtime.usage import Parser
from sdk.checks import CheckRun
from sdk.interrupt import handle_requests
from sdk.lab import LabError, check_machine
from sdk.lab.machine import REPOSITORY
from sdk.router import table
from sdk.router.docs import DocsError
from sdk.router.feed import FeedError
from sdk.router.feed import check as check_feed
from sdk.router.machine import MAY
from sdk.router.mesh import Options
from sdk.router.openwrt import OpenWrtMesh
from sdk.router.rootfs import RootfsError, unpack

RESULT = REPOSITORY / "build/test-openwrt.json"
PLACE = REPOSITORY / "build/rootfs"


def parser() -> Parser:
    parser = Parser("test-openwrt", description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument(
        "--rootfs", type=Path, required=True, metavar="FILE", help="openwrt-…-x86-64-rootfs.tar.gz"
    )
    parser.add_argument("--packages", type=Path, metavar="DIR", help="packages that the image lacks")
    parser.add_argument(
        "--only", nargs="+", default=[], choices=table.NAMES, metavar="CHECK", help=" ".join(table.NAMES)
    )
    parser.add_argument(
        "--wan-down", type=float, default=60, metavar="SECONDS", help="how long the WAN is gone; 60"
    )
    parser.add_argument(
        "--kills", type=int, default=10, metavar="TIMES", help="how often each daemon is killed; 10"
    )
    parser.add_argument(
        "--shell", choices=("a", "b", "c"), metavar="NODE", help="a shell there at the end: a, b or c"
    )
    parser.add_argument("--name", default=f"openwrt-{os.getpid()}", help="of the mesh, for runs side by side")
    return parser


def run(options) -> int:
    checks = CheckRun(sys.stdout.isatty())
    try:
        check_machine()
        rootfs = unpack(options.rootfs, PLACE)
        check_feed(options.packages, rootfs)
        checks.say(f"{rootfs.release}, with {rootfs.manager}{', Gluon' if rootfs.is_gluon else ''}")
        REPOSITORY.joinpath("build").mkdir(exist_ok=True)
        bounds = Options(options.wan_down, options.kills)
        with OpenWrtMesh(rootfs, options.packages, bounds, name=options.name, log=checks.say) as mesh:
            missed = table.run(mesh, checks, options.only)
            if options.shell:
                shell(mesh, options.shell)
    except (LabError, RootfsError, FeedError, DocsError) as error:
        print(f"test-openwrt: {error}", file=sys.stderr)
        return 1
    result = checks.result()
    told = {"rootfs": options.rootfs.name, "release": rootfs.release, **result, "left_out": missed}
    RESULT.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n")
    checks.say(f"{result['passed']} passed, {result['failed']} failed, {len(missed)} left out")
    return 1 if result["failed"] or missed else 0


def shell(mesh: OpenWrtMesh, node: str) -> None:
    """Let a person look around on a node."""
    import subprocess

    pid = mesh.routers[node].pid
    spaces = ["--net", "--mount", "--uts", "--ipc", "--pid", "--wdns=/"]
    subprocess.run([*MAY, "nsenter", f"--target={pid}", *spaces, "--", "/bin/sh", "-l"])


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    handle_requests()
    try:
        return run(options)
    except KeyboardInterrupt:
        print("test-openwrt: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
