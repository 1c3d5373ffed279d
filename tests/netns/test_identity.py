"""Which binary a program is: in rules and in records, with real programs."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from builders import WriteRules
from nfsnitch.core.record import Json
from nfsnitch.lab.firewall import Firewall, having
from nfsnitch.lab.process import Finished
from nfsnitch.lab.programs import build_program
from nfsnitch.lab.services import ECHO_PORT
from nfsnitch.lab.world import World

pytestmark = [
    pytest.mark.root,
    pytest.mark.netns,
    pytest.mark.bpf,
    pytest.mark.usefixtures("services"),
]

SERVER = "192.0.2.1"
LARGE_BYTES = 200_000_000
"""It takes a while to read."""
ALLOW = "default: deny\nrules: [{name: everything, action: allow}]\n"
REFUSE_CHANGED = """
default: deny
rules:
  - {name: replaced, action: reject, changed: true}
  - {name: everything, action: allow}
"""


def sha256_of(path: Path) -> str:
    """Return the hash of a file, read in another way than the daemon's."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def connect(world: World, program: Path) -> Finished:
    """Connect with a copy of the lab's program."""
    return world.run([str(program), SERVER, str(ECHO_PORT)])


def connected(world: World, firewall: Firewall, program: Path) -> Json:
    """Connect, and return what was recorded of it."""
    return firewall.wait_for_record(having(pid=connect(world, program).pid))


def another_file(program: Path) -> None:
    """Put another file in the program's place, as a package manager does: it does the same."""
    new = program.with_suffix(".new")
    shutil.copyfile(program, new)
    with new.open("ab") as file:
        file.write(os.urandom(16))
    new.chmod(0o755)
    new.rename(program)


@pytest.mark.vm_guest(modes=("lsm",))
def test_a_rule_with_a_hash_lets_this_very_binary_out_and_its_record_has_the_hash(
    world: World, rules: WriteRules
) -> None:
    good, other = (world.own_copy(build_program("one_connect"), name) for name in ("a", "b"))
    another_file(other)
    text = f"default: reject\nrules: [{{name: good, action: allow, sha256: {sha256_of(good)}}}]\n"
    with Firewall(world, [rules(text)]) as firewall:
        found = [connected(world, firewall, each) for each in (good, other, good)]

    assert [(each["verdict"], each["rule"]) for each in found] == [
        ("accept", "good"),
        ("reject", None),
        ("accept", "good"),
    ]
    assert [each["sha256"] for each in found] == [*map(sha256_of, (good, other, good))]


def test_a_binary_that_was_let_out_and_is_written_to_in_place_is_another_one(
    world: World, rules: WriteRules
) -> None:
    program = world.own_copy(build_program("one_connect"), "tool")
    rule = f"{{name: good, action: allow, sha256: {sha256_of(program)}}}"
    with Firewall(world, [rules(f"default: reject\nrules: [{rule}]\n")]) as firewall:
        before = connected(world, firewall, program)
        inode = program.stat().st_ino
        with program.open("r+b") as file:
            file.seek(0, os.SEEK_END)
            file.write(b"more")
        after = connected(world, firewall, program)

    assert program.stat().st_ino == inode
    assert (before["verdict"], after["verdict"]) == ("accept", "reject")
    assert after["sha256"] == sha256_of(program) != before["sha256"]


def test_the_hash_of_a_program_whose_file_was_removed_is_that_of_the_file_it_runs(
    world: World, rules: WriteRules
) -> None:
    program = world.own_copy(build_program("one_datagram"), "gone")
    expected = sha256_of(program)
    with Firewall(world, [rules(ALLOW)]) as firewall:
        done = world.run([str(program), "--unlink", SERVER, str(ECHO_PORT)])
        record = firewall.wait_for_record(having(pid=done.pid))

    assert record["exe_deleted"]
    # It may have ended before it could be looked at: then its file is nowhere any more.
    assert record["sha256"] in (expected, {"unknown": "the process is gone, and so is its file"})


def test_a_program_that_is_no_file_of_any_folder_has_a_hash_all_the_same(
    world: World, rules: WriteRules
) -> None:
    binary = build_program("one_connect")
    code = (
        "import os, sys\n"
        f"raw = open({str(binary)!r}, 'rb').read()\n"
        "memory = os.memfd_create('nowhere')\n"
        "os.write(memory, raw)\n"
        f"os.execve(f'/proc/self/fd/{{memory}}', ['x', {SERVER!r}, '{ECHO_PORT}'], {{}})\n"
    )
    text = f"default: deny\nrules: [{{name: it, action: allow, sha256: {sha256_of(binary)}}}]\n"
    with Firewall(world, [rules(text)]) as firewall:
        done = world.run(["python3", "-I", "-S", "-c", code])
        record = firewall.wait_for_record(having(pid=done.pid, rule="it"))

    assert (record["verdict"], record["sha256"]) == ("accept", sha256_of(binary))
    assert "unknown" in record["changed"]


def test_a_changed_program_is_refused_until_it_is_let_out_and_its_record_has_both_hashes(
    world: World, rules: WriteRules
) -> None:
    program = world.own_copy(build_program("one_connect"), "tool")
    old = sha256_of(program)
    path = rules(REFUSE_CHANGED)
    with Firewall(world, [path]) as firewall:
        first = connected(world, firewall, program)
        stopped = firewall.stop()
    another_file(program)
    # What was let out is known over a restart.
    with Firewall(world, [path]) as firewall:
        refused = [connected(world, firewall, program) for _ in range(2)]
    with Firewall(world, [rules(ALLOW)]) as firewall:
        let_out = connected(world, firewall, program)
        status = firewall.stop().stderr
    with Firewall(world, [rules(REFUSE_CHANGED)]) as firewall:
        known = connected(world, firewall, program)

    assert stopped.returncode == 0, stopped.stderr
    assert (first["verdict"], first["changed"]) == ("accept", False)
    for each in (*refused, let_out):
        assert (each["changed"], each["previous_sha256"]) == (True, old)
        assert each["sha256"] == sha256_of(program)
    assert [each["verdict"] for each in (*refused, let_out)] == ["reject", "reject", "accept"]
    assert "programs-changed 1" in status
    assert (known["verdict"], known["changed"]) == ("accept", False)


def test_a_program_that_runs_on_after_it_was_brought_up_to_date_is_not_called_changed(
    world: World, rules: WriteRules
) -> None:
    python = world.own_copy("python3", "python3")
    code = (
        "import socket, sys\n"
        "for _ in sys.stdin:\n"
        f"    socket.create_connection(({SERVER!r}, {ECHO_PORT}), 5).close()\n"
        "    print('done', flush=True)\n"
    )
    argv = [str(python), "-I", "-S", "-c", code]
    with Firewall(world, [rules(ALLOW)]) as firewall:
        read_fd, write_fd = os.pipe()
        running = world.spawn(argv, fds={0: read_fd})
        os.close(read_fd)
        os.write(write_fd, b"\n")
        firewall.wait_for_records(having(pid=running.pid), 1)
        old = sha256_of(python)
        another_file(python)
        newer = world.run([*argv[:-1], code.replace("for _ in sys.stdin", "for _ in [1]")])
        after = firewall.wait_for_record(having(pid=newer.pid))
        os.write(write_fd, b"\n")
        os.close(write_fd)
        again = firewall.wait_for_records(having(pid=running.pid), 2)[1]

    assert (after["changed"], after["previous_sha256"]) == (True, old)
    assert (again["changed"], again["sha256"]) == (False, old)


def test_the_file_that_keeps_what_was_let_out_is_roots_alone(
    world: World, rules: WriteRules
) -> None:
    program = world.own_copy(build_program("one_connect"), "tool")
    with Firewall(world, [rules(ALLOW)]) as firewall:
        connected(world, firewall, program)
        firewall.stop()
    kept = world.folder / "state" / "programs.json"

    assert kept.stat().st_mode & 0o777 == 0o600
    assert json.loads(kept.read_bytes())["programs"][str(program)][0] == sha256_of(program)


def test_packages_and_names_for_people_are_told_and_packages_decide(
    world: World, rules: WriteRules
) -> None:
    own = world.own_copy(build_program("one_connect"), "tool")
    text = """
default: reject
rules:
  - {name: python, action: allow, package: python3*}
  - {name: nobody's, action: reject, package: none}
"""
    code = f"import socket; socket.create_connection(({SERVER!r}, {ECHO_PORT}), 5)"
    with Firewall(world, [rules(text)]) as firewall:
        done = world.run(["/usr/bin/python3", "-I", "-S", "-c", code])
        python = firewall.wait_for_record(having(pid=done.pid))
        nobodys = connected(world, firewall, own)

    assert (python["verdict"], python["rule"]) == ("accept", "python")
    assert python["package"].startswith("python3")
    assert (nobodys["rule"], nobodys["package"]) == ("nobody's", "none")
    assert (python["user"], python["group"]) == ("root", "root")


def test_while_a_large_program_is_read_its_flow_is_held_and_others_go_on(
    world: World, rules: WriteRules
) -> None:
    large, small = (world.own_copy(build_program("one_connect"), name) for name in ("big", "small"))
    with large.open("r+b") as file:
        file.truncate(LARGE_BYTES)
    expected = sha256_of(large)
    text = f"""
default: reject
rules:
  - {{name: large, action: allow, sha256: {expected}}}
  - {{name: small, action: allow, sha256: {sha256_of(small)}}}
"""
    with Firewall(world, [rules(text)]) as firewall:
        held = world.spawn([str(large), SERVER, str(ECHO_PORT)])
        done = [connect(world, small) for _ in range(3)]
        finished = held.finish(60)
        of_large = firewall.wait_for_record(having(pid=held.pid))
        of_small = [firewall.wait_for_record(having(pid=each.pid)) for each in done]

    assert finished.returncode == 0, finished.stderr
    assert (of_large["rule"], of_large["sha256"]) == ("large", expected)
    assert [each["rule"] for each in of_small] == ["small"] * 3
    assert max(each["held_ms"] for each in of_small) < of_large["held_ms"]
    assert min(each["time"] for each in of_small) < of_large["time"]
