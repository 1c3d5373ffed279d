"""The helper that compiles: what it is told and says, and what becomes of it when it does not."""

from __future__ import annotations

import io
import os
import select
import signal
import socket
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from nfsnitch.adapters.bpf import bcc_compiler, bcc_loader, kernel_headers, modes, wire
from nfsnitch.adapters.bpf.bcc_compiler import Words
from nfsnitch.adapters.bpf.layout import SIZES
from nfsnitch.adapters.bpf.libbpf import BpfError, Libbpf
from nfsnitch.adapters.bpf.object_file import opened
from nfsnitch.core.loader import Loader
from nfsnitch.resources import bpf_object, bpf_sources

Helps = Callable[[str], None]
PREAMBLE = """
import json, os, signal, socket, sys, time
connection = socket.socket(fileno=int(sys.argv[1]))
def say(message, *fds):
    socket.send_fds(connection, [json.dumps(message).encode()], fds)
"""


@pytest.fixture(name="helps")
def fixture_helps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Helps:
    """Have another program stand in for the helper."""
    monkeypatch.setenv(kernel_headers.ELSEWHERE, str(tmp_path))

    def use(program: str) -> None:
        def command(fd: int, *_: object) -> list[str]:
            return [sys.executable, "-I", "-S", "-c", PREAMBLE + program, str(fd)]

        monkeypatch.setattr(bcc_loader, "_command", command)

    return use


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))  # noqa: PTH208  only their names


def wait_for_helper(timeout_s: float = 20.0) -> None:
    with bcc_loader.started(bpf_object(), bpf_sources()) as helper:
        helper.wait_until_ready(timeout_s)


def test_descriptors_come_under_their_names(helps: Helps) -> None:
    helps(
        """
say({"ready": 1})
asked = json.loads(connection.recv(1000))
a, b = os.pipe()
say({"maps": asked["maps"] + ["owners"], "programs": asked["load"]}, a, b)
connection.recv(1)
"""
    )
    with bcc_loader.started(bpf_object(), bpf_sources()) as helper:
        helper.wait_until_ready(20)
        found = helper.load(["nfsnitch_connect4"], timeout_s=20)
        os.write(found.programs["nfsnitch_connect4"], b"x")
        assert os.read(found.maps["owners"], 1) == b"x"
        found.close()


def test_what_the_helper_complains_of_is_passed_on(helps: Helps) -> None:
    helps('say({"error": "no such header"})')

    with pytest.raises(BpfError, match=r"^no such header$"):
        wait_for_helper()


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("sys.exit(3)", "ended with status 3"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "ended by signal 11"),
        ('connection.send(b"{")', "does not answer"),
        ('connection.send(b"[]")', "does not answer: what came is no object"),
    ],
)
def test_a_helper_that_breaks_is_an_error_that_says_how(
    helps: Helps, program: str, why: str
) -> None:
    helps(program)

    with pytest.raises(BpfError, match=f"compiling the eBPF programs: .*{why}"):
        wait_for_helper()


def test_a_helper_that_takes_too_long_is_ended(helps: Helps) -> None:
    helps("time.sleep(1000)")

    with bcc_loader.started(bpf_object(), bpf_sources()) as helper:
        with pytest.raises(BpfError, match=r"bcc was not done after 0.1 s"):
            helper.wait_until_ready(0.1)
        os.kill(helper.pid, 0)

    with pytest.raises(ProcessLookupError):
        os.kill(helper.pid, 0)


def test_descriptors_without_names_are_refused_and_closed(helps: Helps) -> None:
    helps(
        """
say({"ready": 1})
connection.recv(1000)
say({"maps": [], "programs": []}, 0, 0)
connection.recv(1)
"""
    )
    with bcc_loader.started(bpf_object(), bpf_sources()) as helper:
        helper.wait_until_ready(20)
        before = descriptors()
        with pytest.raises(BpfError, match="2 descriptors for 0"):
            helper.load([], timeout_s=20)
        assert descriptors() == before


DIES_WITH_PARENT = """
import os, signal, sys
from nfsnitch.adapters.bpf import bcc_helper
if os.fork():
    signal.pause()
bcc_helper._die_with_parent()
print(os.getpid(), flush=True)
signal.pause()
"""


def test_the_helper_does_not_outlive_a_daemon_that_is_killed() -> None:
    read_fd, write_fd = os.pipe()
    parent = os.spawnv(os.P_NOWAIT, sys.executable, _to_pipe(write_fd))  # noqa: S606
    os.close(write_fd)
    with os.fdopen(read_fd) as said:
        helper = os.pidfd_open(int(said.readline()))
        os.kill(parent, signal.SIGKILL)
        ended, _, _ = select.select([helper], [], [], 20)
    os.close(helper)
    os.waitpid(parent, 0)

    assert ended


def _to_pipe(fd: int) -> list[str]:
    script = f"import os; os.dup2({fd}, 1)\n{DIES_WITH_PARENT}"
    os.set_inheritable(fd, True)  # noqa: FBT003
    return [sys.executable, "-c", script]


def test_a_message_that_came_in_part_is_refused_with_its_descriptors_closed() -> None:
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, its:
        socket.send_fds(its, [b" " * (wire.MESSAGE_BYTES + 1)], [0])
        before = descriptors()
        with pytest.raises(OSError, match="in part"):
            wire.receive(ours)
        assert descriptors() == before
        its.close()
        assert wire.receive(ours) == (None, [])


def headers_below(folder: Path) -> Path:
    for name in ("generated/autoconf.h", "linux/kconfig.h"):
        path = folder / "include" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def test_headers_are_found_where_the_packages_of_distributions_link_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(kernel_headers.ELSEWHERE, raising=False)
    build = headers_below(tmp_path / os.uname().release / "build")

    assert kernel_headers.found(tmp_path, tmp_path / "none") == build


def test_without_headers_it_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(kernel_headers.ELSEWHERE, raising=False)
    (tmp_path / os.uname().release).mkdir()
    (tmp_path / os.uname().release / "build").symlink_to("/nonexistent")

    with pytest.raises(BpfError, match=f"install the package linux-headers-{os.uname().release}"):
        kernel_headers.found(tmp_path, tmp_path / "none")


def test_headers_that_the_kernel_has_with_it_are_unpacked_for_as_long_as_they_are_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(kernel_headers.ELSEWHERE, raising=False)
    place = tmp_path / "kheaders.tar.xz"
    with tarfile.open(place, "w:xz") as archive:
        entry = tarfile.TarInfo("./include/linux/kconfig.h")
        entry.size = 5
        archive.addfile(entry, io.BytesIO(b"/* */"))

    assert kernel_headers.found(tmp_path, place) == place
    with kernel_headers.unpacked(place) as folder:
        assert (folder / "include/linux/kconfig.h").read_bytes() == b"/* */"
        assert folder.stat().st_mode & 0o077 == 0
    assert not folder.exists()


def test_the_object_says_all_that_the_other_loader_has_to_know() -> None:
    with opened(Libbpf(), bpf_object()) as found:
        maps = {each.name: each for each in found.maps()}
        programs = {each.name: each for each in found.programs()}
        functions = found.functions()

    assert {name: maps[name][2:4] for name in SIZES} == SIZES
    assert {
        attachment.program
        for modes_ in modes.PROGRAMS.values()
        for each in modes_
        for attachment in each
    } <= set(programs)
    assert programs["nfsnitch_lsm_connect"].target == "socket_connect"
    assert programs["nfsnitch_kprobe_use"].target == ""
    assert set(programs) < set(functions)
    assert {name: functions[name].arguments for name in set(functions) - set(programs)} == {
        "claim_flow": 2,
        "claim_queued": 2,
        **dict.fromkeys(("copy_dns_128", "copy_dns_512", "copy_dns_1536", "copy_dns_4608"), 3),
        "fill_image": 2,
        "names_text": 4,
        "opening_rule_matches": 5,
        "prepend_cgroup": 2,
        "prepend_directory": 2,
        "record_owner": 2,
        "verdict_by_program": 4,
    }


def test_every_program_and_map_has_its_place_in_what_bcc_compiles() -> None:
    text = bcc_compiler.program_text(Words([], ["one", "two"], {"sub": 2, "other": 1}))

    assert text.index("nfsnitch_subprograms(void") < text.index("#include") < text.index("one_(")
    assert "{ sub(0, 0); other(0); return 0; }" in text
    assert bcc_compiler.map_ids(["owners", "images"]) == (
        "#define owners (*(struct {} *)bpf_pseudo_fd(1, 0))\n"
        "#define images (*(struct {} *)bpf_pseudo_fd(1, 1))\n"
    )


def test_auto_takes_core_where_the_kernel_describes_its_types_and_bcc_where_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modes, "_BTF", tmp_path)
    assert modes.chosen_loader(Loader.AUTO) is Loader.CORE
    assert modes.chosen_loader(Loader.BCC) is Loader.BCC

    monkeypatch.setattr(modes, "_BTF", tmp_path / "none")
    assert modes.chosen_loader(Loader.AUTO) is Loader.BCC
    assert modes.chosen_loader(Loader.CORE) is Loader.CORE


def test_where_neither_loader_can_work_it_is_told_why_and_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(kernel_headers.ELSEWHERE, raising=False)
    monkeypatch.setattr(modes, "_BTF", tmp_path / "none")
    monkeypatch.setattr(kernel_headers, "found", lambda: kernel_headers_missing(tmp_path))

    with (
        pytest.raises(BpfError, match=r"describe its types \(BTF\), so bcc .*install the package"),
        modes.loading(bpf_object(), Loader.AUTO),
    ):
        pass


def kernel_headers_missing(folder: Path) -> Path:
    raise BpfError(f"none below {folder}; {kernel_headers.remedy()}")
