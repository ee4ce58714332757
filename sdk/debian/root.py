# SPDX-License-Identifier: ISC
"""A root of another Debian, made by debootstrap, in which this checkout's make targets run: `make test-debian`.

    python -m sdk.debian.root [--suite SUITE] [--] WORDS...

The root build/debian/SUITE/root stays, with all that was installed in it. So does its copy of the files,
build/debian/SUITE/src, with its own .venv. A command runs in it in a PID namespace and a mount namespace of its own.
When the command ends, the kernel removes its processes, mounts and labs. It has this machine's network, and root's
rights because labs need them. So it does not protect this machine from the command.
"""

import contextlib
import fcntl
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from runtime.usage import Parser
from sdk.debian.apt import SUITE, AptError, mirror
from sdk.interrupt import run_program

REPOSITORY = Path(__file__).resolve().parents[2]
HOME = REPOSITORY / "build/debian"
BASE = ("ca-certificates", "git", "make")  # sdk/setup.sh in the root installs the rest
MADE_THERE, COMPILED = (".venv", "build"), ".so"  # in the copy of the files: what was made there
# how programs get at the network here: names, and whom TLS trusts
LENT = ("/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs/ca-certificates.crt", "/etc/pip.conf")
PASSED = (
    "PIP_",
    "TIMEOUT_SCALE",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "TERM",
    "CI",
)  # the beginnings of names
# {root}, {source}: folders; {lend}: sh; the words to run are this script's arguments
ENTER = """\
set -e
mount --make-rprivate /
mount --bind {root} {root}
mount -t proc proc {root}/proc
mount --rbind /sys {root}/sys
mount --rbind /dev {root}/dev
mount -t tmpfs -o mode=1777 tmpfs {root}/tmp
mount -t tmpfs -o mode=755 tmpfs {root}/run
mkdir -p {root}/root/checkout {root}/old
mount --bind {source} {root}/root/checkout
cd {root}
{lend}pivot_root . old
cd /root/checkout
umount -l /old
# this shell stays, as the first process: it takes over orphans, and a lab ends only when somebody waits for its own
status=0
"$@" || status=$?
exit "$status"
"""

# with what is to be the root as its working directory
LEND = """\
for file in {lent}; do
	[ -e "$file" ] || continue
	mkdir -p ".${{file%/*}}"
	[ -e ".$file" ] || : >".$file"
	mount --bind "$file" ".$file"
done
"""


def lend() -> str:
    """Lines of sh that show this machine's files of LENT in a root, which is the working directory."""
    return LEND.format(lent=" ".join(map(shlex.quote, LENT)))


def make_root(suite: str, folder: Path) -> Path:
    """Return the root; makes it where it is not there. Raises AptError."""
    root = folder / "root"
    if root.exists():
        return root
    program = shutil.which("debootstrap", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        raise AptError("no debootstrap: apt install debootstrap")
    new = folder / "root.new"
    shutil.rmtree(new, ignore_errors=True)  # of one that was killed
    address, keyring = mirror()
    words = [program, "--variant=minbase", f"--include={','.join(BASE)}"]
    words += [f"--keyring={keyring}"] if keyring else []
    log = folder / "debootstrap.log"
    print(f"test-debian: making a root of {suite}", flush=True)
    with log.open("wb") as output:
        # a suite that is newer than this debootstrap has no script of its own yet; all of them are sid's
        words += [suite, str(new), address, "/usr/share/debootstrap/scripts/sid"]
        done = subprocess.run(alone(words), stdout=output, stderr=subprocess.STDOUT)
    if done.returncode:
        raise AptError(f"debootstrap could not make a root of {suite}: see {os.path.relpath(log)}")
    new.rename(root)
    return root


def copy_files(target: Path) -> None:
    """Copy what git knows of, or would ask about; what is there otherwise goes, but for what was made there."""
    target.mkdir(exist_ok=True)
    for top in target.iterdir():
        if top.name in MADE_THERE:
            continue
        for folder, _, files in os.walk(top, topdown=False):
            for name in files:
                if not name.endswith(COMPILED):
                    Path(folder, name).unlink()
            with contextlib.suppress(OSError):  # what was compiled is in it
                Path(folder).rmdir()
        if top.is_file() or top.is_symlink():
            top.unlink()
    words = ["git", "ls-files", "-coz", "--exclude-standard"]
    names = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (REPOSITORY / name).exists() or (REPOSITORY / name).is_symlink():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, target / name, follow_symlinks=False)
    # tests and lint ask git which files there are; a clone, for .git of a worktree is no folder
    clone = target / ".clone"
    for words in (
        ["clone", "-q", "--no-checkout", str(REPOSITORY), str(clone)],
        ["-C", str(clone), "reset", "-q"],
    ):
        subprocess.run(["git", *words], check=True)
    (clone / ".git").rename(target / ".git")
    clone.rmdir()


def alone(words: list[str]) -> list[str]:
    """Return words that run words in namespaces that end with us, whatever ends us."""
    spaces = ("unshare", "--mount", "--pid", "--ipc", "--fork", "--kill-child=KILL", "--mount-proc")
    return ["setpriv", "--pdeathsig", "KILL", *spaces, *words]


def run(root: Path, source: Path, words: list[str]) -> int:
    """Run words in the root, in the copy of the files; return the exit status."""
    script = ENTER.format(root=shlex.quote(str(root)), source=shlex.quote(str(source)), lend=lend())
    environment = {name: text for name, text in os.environ.items() if name.startswith(PASSED)}
    environment |= {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LC_ALL": "C.UTF-8",
    }
    return subprocess.run(alone(["sh", "-c", script, "enter", *words]), env=environment).returncode


def main() -> int:
    parser = Parser(prog="test-debian")
    parser.add_argument("--suite", default=SUITE)
    parser.add_argument("words", nargs="+", help="what to run in a copy of this checkout")
    chosen = parser.parse_args()
    folder = HOME / chosen.suite
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two of them take turns
        try:
            root = make_root(chosen.suite, folder)
            copy_files(folder / "src")
        except (AptError, OSError, subprocess.CalledProcessError) as error:
            print(f"test-debian: {error}", file=sys.stderr)
            return 1
        return run(root, folder / "src", chosen.words)


if __name__ == "__main__":
    sys.exit(run_program("test-debian", main))
