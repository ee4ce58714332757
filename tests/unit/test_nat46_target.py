# SPDX-License-Identifier: ISC
"""Where commands go, with files and sockets in the module's and siit's place: calls, errnos, threads, import."""

import errno
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nat46 import (
    CallFailed,
    CffiMissing,
    DaemonMissing,
    KernelTarget,
    ModuleMissing,
    NoDevice,
    Refused,
    Rejected,
    SiitTarget,
    Translator,
    Unreadable,
    cli,
    find_target,
    kernel,
    libc,
    target,
)

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534


@pytest.fixture(params=["API", "ABI"])
def each_mode(request, monkeypatch):
    """The calls through the compiled module, and without it."""
    loaded = libc._load() if request.param == "API" else libc.load_abi()
    if loaded[0] != request.param:
        pytest.skip("nat46._libc is not compiled: python -m nat46._build")
    monkeypatch.setattr(libc, "_load", lambda: loaded)
    return request.param


def calls_of_this_thread():
    """How many write(2) this thread has made, by the kernel's count."""
    try:
        text = Path("/proc/thread-self/io").read_text()
    except OSError:
        pytest.skip("this kernel does not count a thread's calls")
    return int(text.split("syscw: ")[1].split()[0])


def test_bytes_are_written_in_one_message(each_mode):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        command = b"config clat " + b"x" * 5000 + b"\n"
        assert libc.write(ours.fileno(), command) == len(command)
        assert libc.write(ours.fileno(), b"del clat\n") == 9
        assert (theirs.recv(10_000), theirs.recv(10_000)) == (command, b"del clat\n")


def test_a_call_that_fails_has_its_own_errno(each_mode):
    with pytest.raises(libc.CallError) as raised:
        libc.write(-1, b"x")
    assert (raised.value.call, raised.value.number) == ("write", errno.EBADF)
    read, write = os.pipe()
    os.close(read)
    with pytest.raises(libc.CallError) as raised:
        libc.write(write, b"x")
    assert raised.value.number == errno.EPIPE
    with pytest.raises(libc.CallError) as raised:
        libc.enter_network(write)
    assert (raised.value.call, raised.value.number) == ("setns", errno.EINVAL)
    os.close(write)


def test_a_signal_does_not_make_a_second_write(each_mode):
    """A pipe that is full: the call waits, a signal comes, and what was taken is not sent again."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    import signal

    before = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        taken = libc.write(ours.fileno(), bytes(1_000_000))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        ours.close()
    received = 0
    while data := theirs.recv(65536):
        received += len(data)
    theirs.close()
    assert received == taken < 1_000_000


def test_a_command_to_the_control_file_is_one_write(tmp_path):
    control = tmp_path / "control"
    control.write_text("add clat\n\n")

    def work(session):
        before = calls_of_this_thread()
        session.send("config clat debug 1")
        return calls_of_this_thread() - before

    assert KernelTarget(str(control)).perform(work) == 1
    assert control.read_text() == "config clat debug 1\n"[:20]


def test_without_the_module_the_error_says_what_to_load(tmp_path, monkeypatch):
    monkeypatch.setattr(kernel, "LOADED", str(tmp_path / "no-such"))
    with pytest.raises(ModuleMissing, match="modprobe nf_defrag_ipv6; modprobe nat46") as raised:
        Translator(str(tmp_path / "control")).list()
    assert (raised.value.errno, raised.value.call) == (errno.ENOENT, "open")
    assert isinstance(raised.value, OSError)
    monkeypatch.setattr(kernel, "LOADED", str(tmp_path))
    with pytest.raises(
        ModuleMissing, match="the module is loaded, but its file, /proc/net/nat46/control, is not"
    ):
        Translator(str(tmp_path / "control")).list()


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which needs root")
def test_without_permission_the_error_says_that_it_takes_root(tmp_path):
    tmp_path.chmod(0o755)
    control = tmp_path / "control"
    control.write_text("add clat\n\n")
    text = (
        "import os, sys; from nat46 import Translator, NotPermitted\n"
        "Translator(sys.argv[1]).list()  # loads all that this user may not read\n"
        "os.seteuid(65534)\n"
        "try: Translator(sys.argv[1]).delete('clat')\n"
        "except NotPermitted as error: print(error.errno, error)"
    )
    # below /tmp/pytest-of-root nobody may look
    here = Path("/dev/shm") / f"nat46-{os.getpid()}"
    try:
        here.write_text("add clat\n\n")
        done = subprocess.run(
            [sys.executable, "-c", text, str(here)],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
    finally:
        here.unlink()
    assert done.stdout == f"{errno.EACCES} open {here}: Permission denied: it takes root\n", done.stderr


def test_a_device_that_takes_half_a_command_is_an_error(monkeypatch, tmp_path):
    (tmp_path / "control").write_text("")
    monkeypatch.setattr(libc, "write", lambda fd, data: len(data) - 1)
    with pytest.raises(CallFailed, match="it took 8 of 9 bytes") as raised:
        KernelTarget(str(tmp_path / "control")).perform(lambda session: session.send("del clat"))
    assert raised.value.errno == errno.EIO


def test_the_control_file_of_the_calling_thread_is_used():
    """/proc/net is the network namespace of the process's first thread, whoever asks."""
    assert kernel._of_this_thread("/proc/net/nat46/control") == "/proc/thread-self/net/nat46/control"
    assert kernel._of_this_thread("/run/control") == "/run/control"


@pytest.mark.parametrize(
    ("namespace", "path"), [("a", "/var/run/netns/a"), ("/x/y", "/x/y"), (7, "/proc/7/ns/net")]
)
def test_a_namespace_has_three_names(namespace, path):
    assert kernel.namespace_path(namespace) == path


def test_a_namespace_that_is_not_there_is_an_error():
    with pytest.raises(CallFailed, match="open /var/run/netns/no-such: No such file"):
        Translator(namespace="no-such").list()


DEV = """Inter-|   Receive  ...
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls ...
    lo:      12       1    0    0    0     0          0         0       12       1    0    0    0     0
  clat:     300       3    0    0    0     0          0         0      200       2    0    0    0     0
"""


def test_a_module_device_counts_in_as_received_and_out_as_sent():
    counted = kernel.parse_net_dev(DEV, "clat")
    assert (counted.in_packets, counted.in_bytes, counted.out_packets, counted.out_bytes) == (3, 300, 2, 200)
    with pytest.raises(NoDevice):
        kernel.parse_net_dev(DEV, "plat")
    with pytest.raises(Unreadable):
        kernel.parse_net_dev(DEV.replace("300", "many"), "clat")


# --- siit's socket -----------------------------------------------------------


class Daemon:
    """Answers each line with what it is told to; keeps the messages as they came."""

    def __init__(self, path, answers):
        self.path, self.answers, self.heard = path, answers, []
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(path))
        self.listener.listen()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                while data := connection.recv(65536):
                    self.heard.append(data)
                    answer = self.answers.pop(0)
                    if answer is None:
                        break
                    connection.sendall(answer)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(10)


@pytest.fixture
def daemon(tmp_path):
    made = []

    def make(*answers):
        made.append(Daemon(tmp_path / "control.sock", list(answers)))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_what_siit_refuses_is_told_in_its_words(daemon):
    heard = daemon(b"add clat\n\nok\n", b"error: not today\n")
    with pytest.raises(Rejected, match=r"^not today$") as raised:
        Translator(SiitTarget(str(heard.path))).delete("clat")
    assert raised.value.command == "del clat"
    assert heard.heard == [b"show\n", b"del clat\n"]


@pytest.mark.parametrize("answer", [None, b"add clat\n"[:4]])
def test_a_daemon_that_hangs_up_is_an_error(daemon, answer, monkeypatch):
    monkeypatch.setattr("nat46.userspace.ANSWER_S", 0.2)
    heard = daemon(answer)
    with pytest.raises(CallFailed, match=r"hung up|does not answer"):
        Translator(SiitTarget(str(heard.path))).list()


def test_no_daemon_is_an_error_that_says_what_to_start(tmp_path):
    for path in (tmp_path / "none", tmp_path / "nor" / "folder"):
        with pytest.raises(DaemonMissing, match="start `siit daemon`"):
            SiitTarget(str(path)).perform(lambda session: session.read())


def test_statistics_of_siit_are_of_both_ways(daemon):
    counters = (
        b'{"in4_packets": 1, "in6_packets": 2, "out4_packets": 3, "out6_packets": 4, "in4_bytes": 5, '
        b'"looping": 6}'
    )
    heard = daemon(b"add clat\n\nok\n", b'{"devices": [{"name": "clat", "counters": %s}]}\nok\n' % counters)
    counted = Translator(SiitTarget(str(heard.path))).statistics("clat")
    assert (counted.in_packets, counted.out_packets, counted.in_bytes) == (3, 7, 5)
    assert counted.counters["looping"] == 6


def test_a_path_says_what_it_is(tmp_path, monkeypatch, daemon):
    assert isinstance(find_target(str(daemon().path)), SiitTarget)
    (tmp_path / "file").write_text("")
    assert isinstance(find_target(str(tmp_path / "file")), KernelTarget)
    assert isinstance(find_target(str(tmp_path / "nothing")), KernelTarget)
    monkeypatch.setattr("nat46.translator.SOCKETS", (str(tmp_path / "control.sock"),))
    assert isinstance(find_target(), SiitTarget)
    assert find_target(namespace="n") == KernelTarget(kernel.CONTROL, "n")
    file = tmp_path / "file"
    assert Translator(file, file).target == KernelTarget(str(file), str(file)), "a Path is a path"


def test_a_place_that_cannot_be_is_refused(daemon):
    """An empty text is a variable that nobody has set, and not the translator that happens to be there."""
    with pytest.raises(Refused, match="an empty text names no translator"):
        Translator("")
    with pytest.raises(Refused, match="an empty text names no network namespace"):
        Translator(namespace="")
    socket_path = str(daemon().path)
    with pytest.raises(Refused, match="is siit's socket, expected no network namespace"):
        Translator(socket_path, "n")
    with pytest.raises(Refused, match="expected no network namespace beside it"):
        Translator(SiitTarget(socket_path), "n")


def test_a_target_that_has_no_end_is_refused(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in ("/dev/zero", str(tmp_path), str(tmp_path / "fifo")):
        with pytest.raises(
            Refused, match=f"^{path} is no translator, expected siit's socket or the control file"
        ):
            find_target(path)


@pytest.mark.parametrize(
    ("text", "modules"),
    [
        ("nat46", ("typing", "cffi", "nat46._libc", "nat46.language", "ipaddress", "threading")),
        ("nat46; nat46.Translator('/no/such')", ("cffi", "nat46._libc")),
    ],
)
def test_importing_costs_nothing_until_used(text, modules):
    text = f"import sys, {text}; print([name for name in {modules} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", text], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_without_cffi_the_error_says_what_to_install(monkeypatch):
    libc._load.cache_clear()
    monkeypatch.setitem(sys.modules, "cffi", None)
    monkeypatch.setitem(sys.modules, "nat46._libc", None)
    try:
        with pytest.raises(CffiMissing, match=r"install it .*python3-cffi"):
            KernelTarget("/proc/net/dev").perform(lambda session: session.read())
    finally:
        libc._load.cache_clear()


@pytest.mark.parametrize("name", ["\u00fcn\u00ef", "\x85", "\udcff"])
def test_a_device_may_have_any_name_that_another_program_gave_it(tmp_path, capsys, name):
    """The language does not have it, but what is there is listed, counted and checked."""
    control = tmp_path / "control"
    control.write_bytes(f"add {name}\n\n".encode(**target.CODE))
    there = Translator(str(control))
    assert there.show(name).name == name
    assert kernel.parse_net_dev(DEV.replace("clat", name), name).in_packets == 3
    with pytest.raises(CallFailed) as raised:
        there.mtu_bytes(name)
    assert raised.value.errno == errno.ENODEV
    assert cli.main(["show", "--target", str(control)]) == 0
    assert "DEVICE" in capsys.readouterr().out


def test_target_has_the_interface_of_the_machine():
    assert target.has_interface("lo")
    assert not target.has_interface("no-such-device")
