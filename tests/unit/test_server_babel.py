# SPDX-License-Identifier: ISC
"""babeld's drop-in on a server: there while a role is on and the unit is Debian's. Nothing else restarts babeld."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parents[2] / "files/server/464xlat/usr/lib"
SHIPPED = HOME / "464xlat/babeld-unit.conf"
DEBIANS, OF_INIT = "/usr/lib/systemd/system/babeld.service", "/run/systemd/generator.late/babeld.service"
LINES = "redistribute ip fddd:1338:1338::/48 eq 96 allow"
RESTART, RELOAD = "--no-block try-restart babeld.service", "daemon-reload"
# FragmentPath is in the file unit, the unit's own ExecStart in the file exec
SYSTEMCTL = """#!/bin/sh
cd {root}
case "$*" in
*FragmentPath*) cat unit ;;
*ExecStart*) cat exec; cat "run/systemd/system/babeld.service.d/00-464xlat.conf" 2>/dev/null || true ;;
"-q is-active "*) [ -e "${{3%.service}}.is-active" ] ;;
*) echo "$*" >>did ;;
esac
"""


class Server:
    """The script with its folders below a root, and a systemctl that notes what it is told to do."""

    def __init__(self, root):
        self.root = root
        text = (HOME / "464xlat/role.d/50-babel").read_text()
        for folder in ("/run/464xlat", "/run/systemd/system", "/usr/lib/464xlat"):
            assert f"={folder}" in text
            text = text.replace(f"={folder}", f"={root}{folder}")
        self.program("hook", text)
        self.program("bin/systemctl", SYSTEMCTL.format(root=root))
        self.program("usr/lib/464xlat/conf", f'#!/bin/sh\n[ "$1" = bird ] || cat {root}/lines\n')
        (root / "usr/lib/464xlat/babeld-unit.conf").write_text(
            SHIPPED.read_text().replace("/run/464xlat", f"{root}/run/464xlat")
        )
        (root / "run/systemd/system").mkdir(parents=True)
        (root / "exec").write_text("/usr/sbin/babeld -I ''\n")
        (root / "babeld.is-active").touch()
        self.have("", DEBIANS)
        self.drop_in = root / "run/systemd/system/babeld.service.d/00-464xlat.conf"

    def program(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def have(self, lines, unit):
        (self.root / "lines").write_text(f"{lines}\n")
        (self.root / "unit").write_text(f"{unit}\n")

    def run(self, way):
        """Return what systemctl was told to do, and what was said."""
        did = self.root / "did"
        did.write_text("")
        path = f"{self.root}/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        done = subprocess.run(
            ["sh", self.root / "hook", way], env={"PATH": path}, capture_output=True, text=True, timeout=30
        )
        return did.read_text().splitlines(), done.stderr


@pytest.fixture
def server(tmp_path):
    return Server(tmp_path)


def test_without_a_role_babeld_is_left_alone(server):
    for way in ("boot", "changed", "gone"):
        assert server.run(way) == ([], "")
        assert not server.drop_in.parent.exists()


@pytest.mark.parametrize("unit", [DEBIANS, OF_INIT, "/lib/systemd/system/babeld.service", ""])
def test_a_role_brings_the_drop_in_and_takes_it_away(server, unit):
    server.have(LINES, unit)
    assert server.run("changed") == ([RELOAD, RESTART], "")
    assert server.drop_in.exists()
    assert server.run("changed") == ([], "")
    server.have(LINES + "\nredistribute local if plat deny", unit)
    assert server.run("changed") == ([RESTART], "")
    assert "if plat" in (server.root / "run/464xlat/babeld.conf").read_text()
    assert server.run("gone") == ([RELOAD, RESTART], "")
    assert not server.drop_in.parent.exists()
    assert server.run("gone") == ([], "")
    server.run("boot")
    server.have("", unit)  # the role is off
    assert server.run("changed") == ([RELOAD, RESTART], "")
    assert not server.drop_in.parent.exists()


def test_babeld_that_does_not_run_is_not_started(server):
    server.have(LINES, DEBIANS)
    (server.root / "babeld.is-active").unlink()
    assert server.run("boot") == ([RELOAD], "")
    assert server.run("gone") == ([RELOAD], "")


def test_an_admins_other_drop_ins_stay(server):
    server.have(LINES, DEBIANS)
    server.drop_in.parent.mkdir()
    other = server.drop_in.with_name("override.conf")
    other.touch()
    server.run("changed")
    server.run("gone")
    assert list(other.parent.iterdir()) == [other]


@pytest.mark.parametrize(
    "unit", [f"/{folder}/systemd/system/babeld.service" for folder in ("etc", "usr/local/lib", "run")]
)
def test_an_admins_own_unit_is_left_alone(server, unit):
    server.have(LINES, DEBIANS)
    server.run("changed")
    server.have(LINES, unit)
    did, said = server.run("changed")  # he has just made it
    assert (did, server.drop_in.exists()) == ([RELOAD, RESTART], False)
    assert said.startswith("464xlat: babeld's ExecStart is your own, expected -c ")
    assert said.count("\n") == 1
    server.have(LINES + "\nredistribute local if plat deny", unit)
    assert server.run("changed")[0] == []
    (server.root / "exec").write_text(f"babeld -c {server.root}/run/464xlat/babeld.conf\n")
    server.have(LINES, unit)
    assert server.run("changed") == ([RESTART], "")


def test_a_wrong_configuration_changes_nothing(server):
    server.have(LINES, DEBIANS)
    server.run("changed")
    server.program("usr/lib/464xlat/conf", "#!/bin/sh\nexit 2\n")
    assert server.run("changed") == ([], "")
    assert server.drop_in.exists()
    assert LINES in (server.root / "run/464xlat/babeld.conf").read_text()


@pytest.mark.parametrize("has_file", [True, False])
def test_babeld_reads_its_own_file_where_there_is_one(tmp_path, has_file):
    (line,) = re.findall(r"^ExecStart=/bin/sh -c '(.*)'$", SHIPPED.read_text(), re.MULTILINE)
    own = tmp_path / "babeld.conf"
    if has_file:
        own.touch()
    # as systemd hands it on
    line = line.replace("$$", "$").replace(" /etc/babeld.conf", f" {own}")
    line = line.replace("/usr/sbin/babeld", "printf '%s\\n'").replace("exec ", "")
    told = {"DAEMON_ARGS": "-S /var/lib/babeld/state", "INTERFACES": "eth0 eth1", "PATH": "/bin"}
    done = subprocess.run(["/bin/sh", "-c", line], env=told, capture_output=True, text=True, check=True)
    file = ["-c", str(own)] if has_file else []
    expected = [
        "-I",
        "",
        *file,
        "-c",
        "/run/464xlat/babeld.conf",
        "-S",
        "/var/lib/babeld/state",
        "eth0",
        "eth1",
    ]
    assert done.stdout.splitlines() == expected


@pytest.mark.parametrize("kind", ["simple\nExecStart=/bin/true -I", "forking\nExecStart=/bin/true start"])
def test_systemd_takes_the_drop_in(tmp_path, kind):
    """Of Debian 13's unit, and of what systemd makes of Debian 12's init script."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze: apt-get install systemd")
    unit = tmp_path / "babeld.service"
    unit.write_text(f"[Service]\nType={kind}\n")
    (tmp_path / "babeld.service.d").mkdir()
    text = SHIPPED.read_text()
    (tmp_path / "babeld.service.d/00-464xlat.conf").write_text(text)
    words = ["systemd-analyze", "verify", "--man=no", unit]
    path = {"SYSTEMD_UNIT_PATH": f"{tmp_path}:/usr/lib/systemd/system", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(words, env=path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
