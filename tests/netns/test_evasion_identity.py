"""Ways to pass for another program, or for none, each tried."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from attach_mode import sees_packets
from builders import WriteRules
from daemon_counters import counted
from nfsnitch.core.counters import Counter
from nfsnitch.core.record import Json
from nfsnitch.lab.firewall import Firewall, having
from nfsnitch.lab.process import Child
from nfsnitch.lab.programs import Sent, build_program, swarm
from nfsnitch.lab.services import ECHO_PORT, SINK_PORT, Services
from nfsnitch.lab.world import World

pytestmark = [pytest.mark.undisturbed, pytest.mark.root, pytest.mark.netns, pytest.mark.bpf]

NOBODY, SOMEBODY = 65534, 1234
CURL = "/usr/bin/curl"
OTHER_FILE = "in a mount namespace of its own it is %s, which is another file here"
ALLOW_ALL = "default: allow\nunattributed: deny\nrules: []\n"
CURL_AND_KERNEL = f"""
default: deny
unattributed: deny
rules:
  - {{name: curl, action: allow, exe: {CURL}}}
  - {{name: kernel, action: allow, owner: kernel}}
"""


def program_only(program: Path) -> str:
    """Return rules that allow one program, and the kernel."""
    return CURL_AND_KERNEL.replace("curl", "good", 1).replace(CURL, str(program))


def python(script: str, *args: str | float, exe: str | Path = "python3") -> list[str]:
    """Return the command line of a Python script that any user can run."""
    return [str(exe), "-I", "-S", "-c", script, *map(str, args)]


def said(child: Child, word: str) -> Child:
    """Wait until a program has said a word."""
    child.wait_for_line(child.stdout, lambda line: line == word, 10)
    return child


def datagram_sizes(services: Services) -> set[int]:
    """Return how many bytes the datagrams had that have reached the server."""
    lines = services.arrived()
    return {int(line.split()[-1]) for line in lines if line.startswith("udp")}


@contextmanager
def pipe() -> Iterator[tuple[int, BinaryIO]]:
    """Yield the end to read from and the end to write to."""
    read_fd, write_fd = os.pipe()
    try:
        with os.fdopen(write_fd, "wb", buffering=0) as writer:
            yield read_fd, writer
    finally:
        os.close(read_fd)


CONNECT = """
import socket, sys
sock = socket.socket()
sock.settimeout(float(sys.argv[2]))
try:
    sock.connect(("192.0.2.1", int(sys.argv[1])))
    print("CONNECTED")
except OSError as problem:
    print(problem)
"""
# Of the shell: $0 is the path under which Python is to appear and to run, "$@" are its arguments.
BOUND_FILE = 'mount --bind "$(realpath /usr/bin/python3)" "$0" && exec "$0" "$@"'
BOUND_FOLDER = (
    'mount -t tmpfs none /mnt && cp "$(realpath /usr/bin/python3)" "/mnt/${0##*/}"'
    ' && mount --bind /mnt "${0%/*}" && exec "$0" "$@"'
)


def in_own_namespaces(how: str, path: str, *argv: str) -> list[str]:
    """Return the command line of a program that puts Python at *path* and runs it there."""
    return ["unshare", "--map-root-user", "--mount", "sh", "-c", how, path, *argv]


@pytest.mark.parametrize(
    ("how", "really"),
    [
        (BOUND_FILE, str(Path("/usr/bin/python3").resolve())),
        (
            BOUND_FOLDER,
            {"unknown": OTHER_FILE % CURL},
        ),
    ],
    ids=["file", "folder"],
)
def test_another_programs_path_in_a_mount_namespace_of_ones_own_is_not_that_program(
    world: World, services: Services, rules: WriteRules, how: str, really: str | Json
) -> None:
    argv = in_own_namespaces(how, CURL, *python(CONNECT, ECHO_PORT, 0.5)[1:])
    with Firewall(world, [rules(CURL_AND_KERNEL)]) as firewall:
        attacker = world.run(argv, uid=NOBODY)
        record = firewall.wait_for_record(having(pid=attacker.pid))

    assert attacker.stdout == "timed out\n", attacker.stderr
    assert (record["verdict"], record["rule"], record["uid"]) == ("drop", None, NOBODY)
    assert (record["exe"], record["exe_inside"]) == (really, CURL)
    assert not services.arrived("tcp")


@pytest.mark.usefixtures("services")
@pytest.mark.parametrize("how", ["true", 'mount --bind "$0" "$0"'], ids=["as-it-is", "bound"])
def test_the_real_program_in_a_mount_namespace_of_its_own_is_recognised(
    world: World, rules: WriteRules, how: str
) -> None:
    good = world.own_copy("python3", "good")
    argv = in_own_namespaces(
        f'{how} && exec "$0" "$@"', str(good), *python(CONNECT, ECHO_PORT, 5)[1:]
    )
    with Firewall(world, [rules(program_only(good))]) as firewall:
        done = world.run(argv, uid=NOBODY)
        record = firewall.wait_for_record(having(pid=done.pid))

    assert done.stdout == "CONNECTED\n", done.stderr
    assert (record["verdict"], record["rule"], record["exe"]) == ("accept", "good", str(good))


@pytest.mark.usefixtures("services")
def test_arguments_too_long_to_keep_do_not_bring_the_other_programs_path_back(
    world: World, rules: WriteRules
) -> None:
    command = python(CONNECT, ECHO_PORT, 0.5, "x" * 2000)[1:]
    argv = in_own_namespaces(BOUND_FILE, CURL, *command)
    with Firewall(world, [rules(CURL_AND_KERNEL)]) as firewall:
        attacker = world.run(argv, uid=NOBODY)
        record = firewall.wait_for_record(having(pid=attacker.pid))

    assert attacker.stdout == "timed out\n", attacker.stderr
    assert (record["verdict"], record["rule"]) == ("drop", None)


# One process makes the namespaces, another one, outside, runs the file that is mounted there.
REACHES_IN = """
import os, subprocess, sys
script = 'mount --bind "$(realpath /usr/bin/python3)" "$0" && echo ready && exec sleep 60'
command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, sys.argv[1]]
inside = subprocess.Popen(command, stdout=subprocess.PIPE)
assert inside.stdout.readline() == b"ready\\n"
os.execv(f"/proc/{inside.pid}/root{sys.argv[1]}", sys.argv[1:])
"""


@pytest.mark.usefixtures("services")
def test_a_file_of_another_mount_namespace_that_is_run_outside_is_not_that_program(
    world: World, rules: WriteRules
) -> None:
    argv = python(REACHES_IN, CURL, *python(CONNECT, ECHO_PORT, 0.5)[1:])
    with Firewall(world, [rules(CURL_AND_KERNEL)]) as firewall:
        attacker = world.run(argv, uid=NOBODY)
        record = firewall.wait_for_record(having(pid=attacker.pid))

    assert attacker.stdout == "timed out\n", attacker.stderr
    assert (record["verdict"], record["rule"]) == ("drop", None)


OLD_SOCKET = """
import os, socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.connect(("192.0.2.1", int(sys.argv[1])))
print("ready", flush=True)
os.read(0, 1)
sock.send(b"x")
os.read(0, 1)
"""


def test_a_socket_that_is_older_than_the_daemon_does_not_bring_the_other_programs_path_back(
    world: World, rules: WriteRules
) -> None:
    argv = in_own_namespaces(BOUND_FILE, CURL, *python(OLD_SOCKET, SINK_PORT)[1:])
    with pipe() as (stdin, tell):
        attacker = said(world.spawn(argv, uid=NOBODY, fds={0: stdin}), "ready")
        with Firewall(world, [rules(CURL_AND_KERNEL)]) as firewall:
            tell.write(b"!")
            record = firewall.wait_for_record(having(pid=attacker.pid))

    assert (record["verdict"], record["rule"]) == ("drop", None)


# The mount goes with its namespace, what is open in it stays: its path begins at the mount's root.
OUTLIVES_ITS_NAMESPACE = """
import os, subprocess, sys
script = (
    'mount -t tmpfs none /mnt && mkdir -p "/mnt${0%/*}"'
    ' && cp "$(realpath /usr/bin/python3)" "/mnt$0" && echo ready && read line'
)
command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, sys.argv[1]]
inside = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
assert inside.stdout.readline() == b"ready\\n"
folder = os.open(f"/proc/{inside.pid}/root/mnt", os.O_PATH)
inside.stdin.close()
inside.wait()
os.set_inheritable(folder, True)
os.execv(f"/proc/self/fd/{folder}{sys.argv[1]}", sys.argv[1:])
"""


@pytest.mark.usefixtures("services")
def test_a_file_in_a_mount_that_is_gone_is_not_known_by_its_path_below_it(
    world: World, rules: WriteRules
) -> None:
    argv = python(OUTLIVES_ITS_NAMESPACE, CURL, *python(CONNECT, ECHO_PORT, 0.5)[1:])
    with Firewall(world, [rules(CURL_AND_KERNEL)]) as firewall:
        attacker = world.run(argv, uid=NOBODY)
        record = firewall.wait_for_record(having(pid=attacker.pid))

    assert attacker.stdout == "timed out\n", attacker.stderr
    assert (record["verdict"], record["rule"]) == ("drop", None)


def test_a_program_in_a_changed_root_is_known_by_its_whole_path(
    world: World, rules: WriteRules
) -> None:
    own = world.own_copy(build_program("one_connect"), "curl")
    root = own.parent
    (root / "usr" / "bin").mkdir(parents=True)
    own.rename(root / CURL[1:])
    argv = ["unshare", "--map-root-user", f"--root={root}", CURL, "192.0.2.1", str(ECHO_PORT)]
    with Firewall(world, [rules(CURL_AND_KERNEL)]) as firewall:
        attacker = world.spawn(argv, uid=NOBODY)
        record = firewall.wait_for_record(having(proto="tcp"))

    assert (record["verdict"], record["pid"]) == ("drop", attacker.pid)
    assert record["exe"] == f"{root}{CURL}"


def test_a_file_that_is_bound_to_a_place_is_known_by_its_own_or_by_none(
    world: World, rules: WriteRules
) -> None:
    own = world.own_copy(build_program("one_datagram"), "original")
    place = own.with_name("bound")
    place.touch()
    script = 'mount --bind "$0" "$1" && exec "$1" 192.0.2.1 9'
    argv = ["unshare", "--mount", "sh", "-c", script, str(own), str(place)]
    with Firewall(world, [rules(ALLOW_ALL)]) as firewall:
        done = world.run(argv)
        record = firewall.wait_for_record(having(pid=done.pid))

    # It may be gone before anybody looks at its mounts.
    assert record["exe"] in (str(own), {"unknown": OTHER_FILE % place})
    assert record["exe_inside"] == str(place)
    assert (record["exe_device"], record["exe_inode"]) == (own.stat().st_dev, own.stat().st_ino)


SHARES_PORT = """
import os, socket, sys
how, size, times = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
server = ("192.0.2.1", 7)
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
sock.bind(("", 5353))
if how == "connected":
    sock.connect(server)
print("ready", flush=True)
os.read(0, 1)
for _ in range(times):
    if how == "connected":
        sock.send(b"x" * size)
    else:
        sock.sendto(b"x" * size, server)
print("sent", flush=True)
os.read(0, 1)
"""


@pytest.mark.parametrize("how", ["connected", "unconnected"])
@pytest.mark.parametrize(
    "order",
    [
        "allowed-first",
        pytest.param("other-first", marks=pytest.mark.vm_guest(modes=("lsm", "kprobe"))),
    ],
)
def test_a_second_program_on_a_shared_udp_port_is_not_charged_to_the_allowed_one(
    world: World, services: Services, rules: WriteRules, how: str, order: str
) -> None:
    good = world.own_copy("python3", "good")
    with (
        pipe() as (ours, tell_ours),
        pipe() as (theirs, tell_theirs),
        Firewall(world, [rules(program_only(good))]) as firewall,
    ):

        def start_other() -> Child:
            argv = python(SHARES_PORT, how, 14, 3)
            return said(world.spawn(argv, uid=NOBODY, fds={0: theirs}), "ready")

        first = start_other() if order == "other-first" else None
        argv = python(SHARES_PORT, "unconnected", 4, 20, exe=good)
        allowed = said(world.spawn(argv, uid=SOMEBODY, fds={0: ours}), "ready")
        tell_ours.write(b"!")
        said(allowed, "sent")
        firewall.wait_for_record(having(proto="udp"))
        other = first or start_other()
        tell_theirs.write(b"!")
        said(other, "sent")
        firewall.wait_for_record(concerns(other.pid))
        counters = counted(firewall.stop())

    assert 14 not in datagram_sizes(services)
    assert counters[Counter.TRUSTED] == 0
    if order == "allowed-first":
        assert 4 in datagram_sizes(services)


def concerns(pid: int) -> Callable[[Json], bool]:
    """Return the test whether a refusal names a process, be it as a rival."""

    def fits(record: Json) -> bool:
        rivals = record.get("rivals") or []
        named = record["pid"] == pid or any(rival["pid"] == pid for rival in rivals)
        return named and record["verdict"] == "drop"

    return fits


SHARES_PORT_AGAIN_AND_AGAIN = SHARES_PORT.replace(
    "sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
    """
for _ in range(8):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as before:
        before.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        before.bind(("", 5353))
        before.sendto(b"x" * size, server)
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
""".strip(),
)


@pytest.mark.vm_guest(modes=("lsm", "kprobe"))
def test_many_sockets_of_the_allowed_program_do_not_hide_the_other_one_on_their_port(
    world: World, services: Services, rules: WriteRules
) -> None:
    if not sees_packets():
        # Those before are known if the worker happens to look in between.
        pytest.skip("of the sockets with a tuple only the last five are kept")
    good = world.own_copy("python3", "good")
    with (
        pipe() as (ours, tell_ours),
        pipe() as (theirs, tell_theirs),
        # The kernel would answer for the sockets of the one, and their packets not be queued.
        Firewall(world, [rules(program_only(good))], extra=("--no-cache",)) as firewall,
    ):
        argv = python(SHARES_PORT, "connected", 14, 3)
        other = said(world.spawn(argv, uid=NOBODY, fds={0: theirs}), "ready")
        argv = python(SHARES_PORT_AGAIN_AND_AGAIN, "unconnected", 4, 3, exe=good)
        allowed = said(world.spawn(argv, uid=SOMEBODY, fds={0: ours}), "ready")
        tell_ours.write(b"!")
        said(allowed, "sent")
        tell_theirs.write(b"!")
        said(other, "sent")
        firewall.wait_for_record(lambda record: record["proto"] == "udp")
        firewall.stop()

    assert 14 not in datagram_sizes(services)


OLD_THREADS = """
import ctypes, os, socket, sys, threading
libc = ctypes.CDLL(None)
CLONE_FILES, SYS_EXIT = 0x400, {"x86_64": 60}.get(os.uname().machine, 93)
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.connect(("192.0.2.1", int(sys.argv[2])))
apart, alone = threading.Event(), threading.Event()
def thread():
    if sys.argv[1] == "files":
        assert libc.unshare(CLONE_FILES) == 0
        apart.set()
        alone.wait()
    else:
        stat = f"/proc/{os.getpid()}/task/{os.getpid()}/stat"
        while open(stat).read().rpartition(")")[2].split()[0] != "Z":
            pass
    print("ready", flush=True)
    os.read(0, 1)
    sock.send(b"x")
    os.read(0, 1)
    os._exit(0)
threading.Thread(target=thread, daemon=True).start()
if sys.argv[1] == "files":
    apart.wait()
    os.close(sock.fileno())
    alone.set()
    threading.Event().wait()
libc.syscall(SYS_EXIT, 0)
"""


@pytest.mark.parametrize("how", ["files", "leader"], ids=["files-apart", "first-thread-ended"])
def test_a_thread_whose_socket_is_older_than_the_daemon_is_not_taken_for_the_kernel(
    world: World, rules: WriteRules, how: str
) -> None:
    with pipe() as (stdin, tell):
        argv = python(OLD_THREADS, how, SINK_PORT)
        # As root, whose sockets alone may be the kernel's.
        attacker = said(world.spawn(argv, fds={0: stdin}), "ready")
        with Firewall(world, [rules(CURL_AND_KERNEL)]) as firewall:
            tell.write(b"!")
            record = firewall.wait_for_record(having(proto="udp"))

    assert record["verdict"] == "drop"
    if how == "files":
        assert (record["owner"], record["pid"]) == ("process", attacker.pid)
    else:
        # Of a process without its first thread /proc tells too little.
        assert record["owner"] in {"process", "unknown"}


@pytest.mark.slow
@pytest.mark.usefixtures("services")
def test_of_three_swarms_of_6000_short_lived_processes_each_one_is_attributed(
    world: World, rules: WriteRules
) -> None:
    own = world.own_copy(build_program("one_datagram"), "short-lived")
    sent: list[Sent] = []
    with Firewall(world, [rules(ALLOW_ALL)]) as firewall:
        records: list[Json] = []
        for _ in range(3):
            sent += swarm(world, 6_000, own, "192.0.2.1", str(SINK_PORT)).sent
            records = firewall.wait_for_records(having(proto="udp"), len(sent), timeout_s=30)
        counters = counted(firewall.stop())

    assert {record["exe"] for record in records if record["owner"] == "process"} == {str(own)}
    attributed = [(str(record["pid"]), record["sport"]) for record in records]
    assert sorted(attributed) == sorted((str(each.pid), each.sport) for each in sent)
    assert counters[Counter.IMAGES_FULL] == 0
    assert counters[Counter.UNATTRIBUTED] == 0
