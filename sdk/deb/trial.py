# SPDX-License-Identifier: ISC
"""`make test-deb`: the packages installed by apt into fresh roots of Debian, upgraded and purged; lintian.

    python -m sdk.deb.trial [SUITE...]

In each root: all packages by apt, with what they depend on and nothing else; purged, no file is left. Then under
its own an upgrade, a purge; the kernel is as it was found. Last, as the exit of a lab.
"""

import hashlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from runtime.usage import Parser
from sdk.deb import __main__ as deb
from sdk.deb.compiled import CompileError, own_architecture
from sdk.deb.in_mesh import try_gateway
from sdk.deb.recipes import RECIPES
from sdk.debian.apt import AptError
from sdk.debian.container import Container, ContainerError, forget, run
from sdk.debian.root import make_root
from sdk.lab import LabError

HOME = Path(__file__).resolve().parents[2] / "build/deb"
SUITES = ("bookworm", "trixie")
NAMES = " ".join(recipe.name for recipe in RECIPES)
SETTLE_S = 15
UPGRADE = "9.9"  # a later version of the same
APT = "apt-get -qq -o Dpkg::Use-Pty=0 -o APT::Sandbox::User=root"
# files that are there, but for what apt and dpkg note
LIST = r"""find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /shared \
-o -path /old -o -path /var/cache -o -path /var/log -o -path /var/lib/apt -o -path /var/lib/dpkg \
-o -name __pycache__ \) -prune -o -printf '%M %u:%g %p %l\n' | sort"""
ADDED = "systemd systemd-sysv dbus babeld bird2 curl iputils-ping conntrack"
# of the network namespace: what a gateway changes
STATE = r"""nft list ruleset; ip -4 rule; ip -6 rule; ip -br link | sed 's/@.*//' | cut -d' ' -f1 | sort
ip -4 route show table all; ip -6 route show table all | grep -v 'proto kernel\|dev lo' || true
for way in ipv4 ipv6; do grep -H . /proc/sys/net/$way/conf/*/forwarding /proc/sys/net/$way/conf/*/rp_filter
done 2>/dev/null
cat /proc/sys/net/ipv4/icmp_ratelimit
ls /etc/systemd/system /var/lib /run | grep -i 'xlat\|siit\|prefixd\|l3roamd' || true
systemctl is-active babeld; ls /run/systemd/system/babeld.service.d 2>/dev/null || true"""
NETWORK = """\
ip link set lo up
ip link add eth0 type veth peer name peer0; ip addr add 203.0.113.2/24 dev eth0
ip link set eth0 up; ip link set peer0 up
ip route add default via 203.0.113.1
ip link add wg-mesh type veth peer name peer1; ip link set wg-mesh up; ip link set peer1 up
echo 'interface wg-mesh type tunnel' >>/etc/babeld.conf
systemctl restart babeld
"""
DOCUMENT = HOME.parents[1] / "docs/gateway.md"
RULE = "local.v4 10.0.0.0/8 local.v6 fd00:1::/96 local.style RFC6052 "
RULE += "remote.v4 0.0.0.0/0 remote.v6 64:ff9b::/96 remote.style RFC6052"


def blocks(kind: str) -> list[str]:
    """Return what docs/gateway.md has between its lines of ```."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)


def documented(kind: str, word: str) -> str:
    """Return the first block with the word in it."""
    return next(block for block in blocks(kind) if word in block)


class TrialError(RuntimeError):
    """It is not as it should be: one sentence, and what was said."""


class Trial:
    def __init__(self, suite: str, packages: Path) -> None:
        self.suite, self.packages, self.folder = suite, packages, HOME / suite

    def say(self, sentence: str) -> None:
        print(f"{self.suite}: {sentence}", flush=True)

    def expect(self, is_so: bool, what: str, said: str = "") -> None:
        if not is_so:
            raise TrialError(f"{self.suite}: {what}, expected otherwise:\n{said}")
        self.say(f"ok   {what}")

    def run(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        root = make_root(self.suite, self.folder)
        self.install_and_purge(root)
        names = f"{ADDED} {self.needs(root)}"
        added = self.folder / f"added-{hashlib.sha256(names.encode()).hexdigest()[:12]}"
        if not added.exists():
            new = self.folder / "added.new"
            forget(new)
            run(
                [root],
                new,
                self.packages,
                f"{APT} update; {APT} install -y --no-install-recommends {names}",
            )
            new.rename(added)
            forget(new)
        upper = self.folder / "upper"
        forget(upper)
        try:
            with Container([added, root], upper, self.packages) as server:
                self.serve(server)
            forget(upper)
            took = try_gateway([added, root], upper, self.packages, f"deb-{self.suite}-{os.getpid()}")
            self.say(f"ok   a lab's clients have IPv4 through it {took:.0f} s after its installation began")
        finally:
            forget(upper)

    def needs(self, root: Path) -> str:
        """Return the names of what apt brings along with ours."""
        upper = self.folder / "asked"
        forget(upper)
        said = run(
            [root],
            upper,
            self.packages,
            f"{APT} update; {APT} install -s --no-install-recommends /shared/1/*.deb",
        )
        forget(upper)
        names = re.findall(r"^Inst (\S+)", said, re.MULTILINE)
        return " ".join(name for name in names if name not in NAMES.split())

    def install_and_purge(self, root: Path) -> None:
        upper = self.folder / "upper"
        forget(upper)
        lines = f"""{APT} update
{LIST} >/tmp/fresh
{APT} install -y --no-install-recommends $({APT} install -s --no-install-recommends /shared/1/*.deb |
	sed -n 's/^Inst \\([^ ]*\\) .*/\\1/p' | grep -vxE '{NAMES.replace(" ", "|")}') >/dev/null
{LIST} >/tmp/before
{APT} install -y --no-install-recommends /shared/1/*.deb
for command in 464xlat siit nat46ctl prefixd l3roamd_py reach reach-relay; do $command --version; done
siit translate --rule '{RULE}' 4500001d0000400040117ac10a000001c000020103e807d00009000061
464xlat check || echo "check says $?"
{APT} purge -y {NAMES}
{LIST} >/tmp/after
diff /tmp/before /tmp/after && echo 'nothing is left'
"""
        said = run([root], upper, self.packages, lines)
        forget(upper)
        self.expect(said.count("0.1.0 (") == 7, "apt installs all, and each command tells its version", said)
        self.expect("check says 1" in said, "an unconfigured gateway is told what it lacks", said)
        self.expect(said.endswith("nothing is left\n"), "a purge leaves no file", said)

    def serve(self, server: Container) -> None:
        server.run(NETWORK)
        before = self.state(server)
        begun = time.monotonic()
        server.run(f"{APT} install -y --no-install-recommends /shared/1/*.deb")
        failed = server.run(
            "systemctl --failed --no-legend | grep -E '464xlat|siit|prefixd|l3roamd|babeld' || true"
        )
        self.expect(failed == "", "no unit failed", failed)
        server.run(documented("sh", "reload 464xlat"))
        server.run(
            "sed -i 's|^#node_client_prefix|node_client_prefix|' /etc/464xlat.conf; systemctl reload 464xlat"
        )
        server.wait("the role", lambda: server.try_run("464xlat plat status | grep -q ' up '"))
        self.expect(time.monotonic() - begun < 120, f"a working exit after {time.monotonic() - begun:.0f} s")
        said = server.run("464xlat check", check=False)
        self.expect(said == "", "464xlat check has nothing to say", said)
        self.told(server)
        index = server.run("cat /sys/class/net/plat/ifindex")
        server.run(f"{APT} install -y --no-install-recommends /shared/2/*.deb")
        self.expect(UPGRADE in server.run("464xlat --version"), "an upgrade by apt")
        self.expect(
            server.run("cat /sys/class/net/plat/ifindex; 464xlat plat status >/dev/null") == index,
            "and the exit stays up",
        )
        server.wait("daemons", lambda: server.try_run("systemctl -q is-active siit l3roamd-py 464xlat@plat"))
        self.mistakes(server)
        server.run(f"{APT} purge -y {NAMES}")
        end = time.monotonic() + SETTLE_S  # babeld, which is restarted, sets forwarding itself
        while (after := self.state(server)) != before and time.monotonic() < end:
            time.sleep(0.5)
        self.expect(
            after == before, "after the purge the kernel is as it was found", difference(before, after)
        )

    def told(self, server: Container) -> None:
        server.wait("the roaming daemon", lambda: server.try_run("systemctl -q is-active l3roamd-py"))
        said = server.run("systemctl status --no-pager '464xlat@plat' siit l3roamd-py")
        self.expect(
            'Status: "plat is up"' in said and 'Status: "translating on 1 devices"' in said,
            "systemctl status tells",
            said,
        )
        said = server.run(
            "cat /run/464xlat/babeld.conf; printf 'dump\\nquit\\n' >/tmp/ask; "
            "timeout 5 bash -c 'exec 3<>/dev/tcp/::1/33123; cat /tmp/ask >&3; cat <&3'"
        )
        self.expect("add xroute" in said and "/96" in said, "babeld announces the exit", said)
        conf = "router id 192.0.2.1;\nprotocol device {}\n" + documented("", 'proto = "xlat464"')
        said = server.run(
            f"cat >/tmp/bird.conf <<'END'\n{conf}END\nbird -p -c /tmp/bird.conf && echo bird reads it"
        )
        self.expect("bird reads it" in said, "BIRD reads the drop-in", said)

    def mistakes(self, server: Container) -> None:
        """A wrong file changes nothing; another firewall's drop is named."""
        server.run("cp /etc/464xlat.conf /tmp/right; printf '[plat\\n' >>/etc/464xlat.conf")
        said = server.run("systemctl reload 464xlat", check=False) + server.run("464xlat check", check=False)
        self.expect("begins no section" in said, "a wrong file is refused with its line", said)
        self.expect(server.try_run("464xlat plat status"), "and the exit stays up")
        server.run("cp /tmp/right /etc/464xlat.conf")
        server.run(
            "nft 'add table inet f; add chain inet f fw { type filter hook forward priority 0; policy drop; }'"
        )
        said = server.run("464xlat check", check=False)
        server.run("nft delete table inet f")
        self.expect(
            "table inet f, chain fw drops what comes from wg-mesh to plat" in said,
            "a firewall that drops is named",
            said,
        )
        server.run("nft flush ruleset")
        server.wait("our rules", lambda: server.try_run("nft list table inet xlat464_plat"))
        self.say("ok   rules that somebody flushed are back")

    def state(self, server: Container) -> str:
        return server.run(STATE, check=False)


def difference(before: str, after: str) -> str:
    old, new = before.splitlines(), after.splitlines()
    return "\n".join(
        [*(f"- {line}" for line in old if line not in new), *(f"+ {line}" for line in new if line not in old)]
    )


def lint(files: list[Path]) -> None:
    """Raises TrialError for what lintian calls an error or a warning."""
    words = [
        "lintian",
        "--fail-on",
        "error,warning",
        "--allow-root",
        "--tag-display-limit",
        "0",
        *map(str, files),
    ]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=600)
    except FileNotFoundError:
        raise TrialError("there is no lintian: `make test-deb` installs it") from None
    if done.returncode:
        raise TrialError(f"lintian: {done.stdout}{done.stderr}")
    print("ok   lintian has no error and no warning", flush=True)


def main() -> int:
    parser = Parser(prog="make test-deb", description="Try the Debian packages in fresh roots.")
    parser.add_argument(
        "suites", nargs="*", default=SUITES, metavar="SUITE", help="of Debian (bookworm trixie)"
    )
    options = parser.parse_args()
    try:
        packages = HOME / "trial"
        for folder, version in (("1", deb.VERSION), ("2", UPGRADE)):
            files = deb.build([], packages / folder, own_architecture(), version)
            if folder == "1":
                lint(files)
        for suite in options.suites:
            Trial(suite, packages).run()
    except (TrialError, ContainerError, CompileError, AptError, LabError) as error:
        print(f"make test-deb: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
