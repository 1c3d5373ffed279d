"""What the eBPF programs record, whichever loader has brought them: the same, and the truth."""

from __future__ import annotations

import json
import os
import platform
import select
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from nfsnitch.adapters import netns
from nfsnitch.adapters.bpf import kernel_headers
from nfsnitch.adapters.bpf.core_loader import LoadedPrograms
from nfsnitch.adapters.bpf.layout import flow_key, port_key, raw_key
from nfsnitch.adapters.bpf.libbpf import BpfError
from nfsnitch.adapters.bpf.modes import Load, attached_by, available_modes, loading
from nfsnitch.adapters.bpf.owners import OwnerStore, SocketUser
from nfsnitch.adapters.rate_limit import TimeLimit
from nfsnitch.core.attach import BEST_FIRST, AttachMode
from nfsnitch.core.flow import Family, Flow, Protocol
from nfsnitch.core.loader import Loader
from nfsnitch.core.owner import Process
from nfsnitch.resources import bpf_object

pytestmark = [
    pytest.mark.root,
    pytest.mark.bpf,
    # Each goes through all modes, so once is enough.
    pytest.mark.vm_guest(modes=("lsm",)),
]

LOCALHOST = "127.0.0.1"
ANSWER_TIMEOUT_S = 120
IPPROTO_MPTCP = 262

SENDER = """
import json, socket, struct, sys
port, copy = int(sys.argv[1]), sys.argv[2]
if copy:
    import os
    os.unlink(copy)
def udp(reuse=0):
    found = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
    found.connect(("127.0.0.1", 9))
    return found
def stream(protocol):
    try:
        found = socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol)
    except OSError:
        return None
    found.connect(("127.0.0.1", port))
    return found
found = {"udp": udp(), "shared": udp(1), "tcp": stream(6), "mptcp": stream(262)}
found["raw"] = socket.socket(socket.AF_INET, socket.SOCK_RAW, 253)
def cookie(each):
    return struct.unpack("=Q", each.getsockopt(socket.SOL_SOCKET, 57, 8))[0]
def local_port(name, each):
    return 0 if name == "raw" else each.getsockname()[1]
said = {n: [cookie(each), local_port(n, each)] for n, each in found.items() if each}
print(json.dumps(said), flush=True)
sys.stdin.readline()
for each in found.values():
    if each:
        each.close()
print("{}", flush=True)
sys.stdin.readline()
"""


@dataclass(frozen=True, slots=True)
class Used:
    """A socket as the program that has it knows it."""

    cookie: int
    port: int


class Sender:
    """A program in the cgroup that has sent by one socket of each kind."""

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        self._popen = popen
        self.pid = popen.pid
        self.sockets = {name: Used(*fields) for name, fields in self._heard().items()}

    def close_sockets(self) -> None:
        """Have it close them, and return when it has."""
        self._tell()
        self._heard()

    def _tell(self) -> None:
        assert self._popen.stdin is not None
        self._popen.stdin.write("\n")
        self._popen.stdin.flush()

    def _heard(self) -> dict[str, list[int]]:
        assert self._popen.stdout is not None
        ready, _, _ = select.select([self._popen.stdout], [], [], ANSWER_TIMEOUT_S)
        assert ready, "the sender says nothing"
        heard: dict[str, list[int]] = json.loads(self._popen.stdout.readline())
        return heard


@pytest.fixture(name="loader", scope="module", params=[Loader.CORE, Loader.BCC])
def fixture_loader(request: pytest.FixtureRequest) -> Loader:
    loader = Loader(request.param)
    if loader is Loader.BCC:
        pytest.importorskip("bcc")
        try:
            kernel_headers.found()
        except BpfError as problem:
            pytest.skip(str(problem))
    return loader


@pytest.fixture(name="load", scope="module")
def fixture_load(loader: Loader) -> Iterator[Load]:
    """Yield the loader's way to load; what it compiles, it compiles once."""
    with loading(bpf_object(), loader) as load:
        yield load


@pytest.fixture(name="mode", scope="module", params=BEST_FIRST)
def fixture_mode(
    request: pytest.FixtureRequest, possible: dict[AttachMode, str | None]
) -> AttachMode:
    mode = AttachMode(request.param)
    if possible[mode] is not None:
        pytest.skip(f"attach mode {mode}: {possible[mode]}")
    return mode


@pytest.fixture(name="possible", scope="module")
def fixture_possible() -> dict[AttachMode, str | None]:
    return available_modes(bpf_object(), loader=Loader.CORE)


@pytest.fixture(name="programs", scope="module")
def fixture_programs(load: Load, mode: AttachMode, own_cgroup: Path) -> Iterator[LoadedPrograms]:
    with attached_by(load, own_cgroup, mode) as programs:
        yield programs


@pytest.fixture(name="cgroup_programs", scope="module")
def fixture_cgroup_programs(load: Load, own_cgroup: Path) -> Iterator[LoadedPrograms]:
    with attached_by(load, own_cgroup, AttachMode.CGROUP) as programs:
        yield programs


StartSender = Callable[..., Sender]


@pytest.fixture(name="start_sender")
def fixture_start_sender(own_cgroup: Path, tmp_path: Path) -> Iterator[StartSender]:
    started: list[subprocess.Popen[str]] = []
    script = tmp_path / "sender.py"  # its text as an argument would be too long to be kept
    script.write_text(SENDER, "ascii")
    with socket.create_server((LOCALHOST, 0)) as server:

        def start(python: str = "/usr/bin/python3", remove: str = "") -> Sender:
            port = server.getsockname()[1]
            popen = subprocess.Popen(
                [python, "-I", "-S", str(script), str(port), remove],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                preexec_fn=lambda: (own_cgroup / "cgroup.procs").write_text("0") and None,  # noqa: PLW1509
            )
            started.append(popen)
            return Sender(popen)

        yield start
        for each in started:
            each.kill()
            each.communicate()


@contextmanager
def store(programs: LoadedPrograms, closed: list[int] | None = None) -> Iterator[OwnerStore]:
    """Yield what reads the maps; it never looks into /proc."""
    heard = [] if closed is None else closed
    with closing(OwnerStore(programs, heard.extend, TimeLimit(0.0, 0.0, 1.0))) as owners:
        yield owners


def owner_of(owners: OwnerStore, used: Used) -> tuple[SocketUser, Process]:
    user = owners.socket_user(used.cookie)
    assert user is not None
    assert isinstance(user.owner, Process)
    return user, user.owner


def tuple_of(used: Used, proto: Protocol, dport: int) -> Flow:
    address = socket.inet_aton(LOCALHOST)
    return Flow(Family.IPV4, proto, address, address, used.port, dport)


def start_time_ns(pid: int) -> int:
    ticks = int(Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[19])
    return ticks * (1_000_000_000 // os.sysconf("SC_CLK_TCK"))


def test_an_owner_is_all_that_the_process_is(
    programs: LoadedPrograms, start_sender: StartSender, own_cgroup: Path
) -> None:
    sender = start_sender()
    with store(programs) as owners:
        _, owner = owner_of(owners, sender.sockets["udp"])

    exe = Path(f"/proc/{sender.pid}/exe")
    assert (owner.pid, owner.tid, owner.uid, owner.gid) == (sender.pid, sender.pid, 0, 0)
    assert 0 <= owner.start_time_ns - start_time_ns(sender.pid) < 10_000_000
    assert owner.exe.path == str(exe.readlink())
    assert (owner.exe.device, owner.exe.inode) == (exe.stat().st_dev, exe.stat().st_ino)
    assert not owner.exe.deleted
    command = Path(f"/proc/{sender.pid}/cmdline").read_bytes()
    assert owner.args == tuple(command.decode().split("\0")[:-1])
    assert owner.comm == "python3"
    assert str(owner.cgroup).endswith(f"/{own_cgroup.name}")
    assert owner.cgroup_id == own_cgroup.stat().st_ino
    assert owner.netns == netns.inode()
    assert owner.parents[0].pid == os.getpid()
    assert owner.parents[0].exe.path == str(Path("/proc/self/exe").readlink())


def test_a_program_that_removed_itself_is_known_by_the_path_that_it_had(
    programs: LoadedPrograms, start_sender: StartSender, tmp_path: Path
) -> None:
    copy = tmp_path / "copied-python"
    copy.write_bytes(Path("/usr/bin/python3").resolve().read_bytes())
    copy.chmod(0o755)
    inode = copy.stat().st_ino

    sender = start_sender(str(copy), remove=str(copy))
    with store(programs) as owners:
        _, owner = owner_of(owners, sender.sockets["udp"])

    assert (owner.exe.path, owner.exe.inode, owner.exe.deleted) == (str(copy), inode, True)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_a_closed_socket_is_heard_of_and_its_owner_removed(
    machine: str,
    monkeypatch: pytest.MonkeyPatch,
    cgroup_programs: LoadedPrograms,
    start_sender: StartSender,
) -> None:
    sender = start_sender()
    cookie = sender.sockets["udp"].cookie
    # Mapped where the order of memory accesses is known, else read by libbpf.
    monkeypatch.setattr(platform, "machine", lambda: machine)
    closed: list[int] = []
    with store(cgroup_programs, closed) as owners:
        user = owners.socket_user(cookie)
        assert user is not None
        assert user.released_ns == 0
        sender.close_sockets()
        user = owners.socket_user(cookie)
        assert user is not None
        assert user.released_ns > user.created_ns
        owners.tidy(queue_empty_ns=user.released_ns + 60_000_000_000)
        owners.tidy(queue_empty_ns=user.released_ns + 60_000_000_000)

        assert cookie in closed
        assert owners.socket_user(cookie) is None


def test_who_shares_a_port_is_told_from_who_does_not(
    cgroup_programs: LoadedPrograms, start_sender: StartSender
) -> None:
    sender = start_sender()
    with store(cgroup_programs) as owners:
        alone, _ = owner_of(owners, sender.sockets["udp"])
        shared, _ = owner_of(owners, sender.sockets["shared"])

    assert (alone.shares_port, shared.shares_port) == (False, True)


@pytest.mark.parametrize("kind", ["tcp", "mptcp"])
def test_a_connections_tuple_leads_to_the_socket_that_the_program_has(
    cgroup_programs: LoadedPrograms, start_sender: StartSender, kind: str
) -> None:
    sender = start_sender()
    if kind not in sender.sockets:
        pytest.skip("the kernel has no multipath TCP")
    used = sender.sockets[kind]
    dport = int(Path(f"/proc/{sender.pid}/cmdline").read_bytes().split(b"\0")[4])
    with store(cgroup_programs) as owners:
        claim = owners.claim_on_flow(flow_key(netns.cookie(), tuple_of(used, Protocol.TCP, dport)))
        _, owner = owner_of(owners, used)

    assert claim is not None
    assert claim.cookie == used.cookie
    assert owner.pid == sender.pid


def test_a_datagram_sockets_port_leads_to_it_once_it_is_closed(
    cgroup_programs: LoadedPrograms, start_sender: StartSender
) -> None:
    sender = start_sender()
    used = sender.sockets["udp"]
    key = port_key(netns.cookie(), Protocol.UDP, used.port)
    with store(cgroup_programs) as owners:
        sender.close_sockets()

        assert owners.cookie_of_port(key) == used.cookie


def test_raw_sockets_are_counted_while_they_are_open(
    cgroup_programs: LoadedPrograms, start_sender: StartSender
) -> None:
    sender = start_sender()
    with store(cgroup_programs) as owners:
        before = owners.raw_sockets(raw_key(netns.cookie(), 253))
        sender.close_sockets()
        after = owners.raw_sockets(raw_key(netns.cookie(), 253))

    assert before is not None
    assert (before.cookie, before.open) == (sender.sockets["raw"].cookie, 1)
    assert after is not None
    assert after.open == 0


def test_nothing_is_counted_as_lost(
    cgroup_programs: LoadedPrograms, start_sender: StartSender
) -> None:
    start_sender().close_sockets()
    with store(cgroup_programs) as owners:
        assert set(owners.counters().values()) == {0}
