"""The units under a real systemd: run by boot.sh as a service of the machine it has booted.

For a machine of its own only: it makes a network, rewrites the rules, and kills the daemon.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

UNIT, EARLY = "nfsnitch.service", "nfsnitch-early.service"
COMMAND = "/usr/local/bin/nfsnitch"
ME = "/opt/check"
GOOD, OTHER = Path("/opt/good"), Path("/opt/other")
HERE, PEER = "192.0.2.2", "192.0.2.1"
OTHER_PORT, GOOD_PORT, TCP_PORT = 9, 10, 11
RULES = Path("/etc/nfsnitch/rules.yaml")
RECORDS = Path("/var/log/nfsnitch/decisions.jsonl")
DROP_IN = Path("/run/systemd/system/nfsnitch.service.d/check.conf")
ALLOWS_GOOD = f"default: deny\nrules: [{{name: good, action: allow, exe: {GOOD}}}]\n"
ALLOWS_NOBODY = "default: deny\nrules: []\n"
# A system call that is not allowed ends the program, so that none is overlooked.
STRICT = "[Service]\nSystemCallErrorNumber=kill\nExecStart=\nExecStart={command} --attach {mode}\n"
PATIENCE_S = 120
"""An emulated processor takes its time."""
T = TypeVar("T")
COUNTS = f"""
table inet peer {{
    counter other {{ }}
    counter good {{ }}
    chain input {{
        type filter hook input priority 0
        udp dport {OTHER_PORT} counter name other
        udp dport {GOOD_PORT} counter name good
    }}
}}
"""


def run(*argv: str, text: str | None = None) -> str:
    """Return what a command says; it must succeed."""
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{argv}: exit status {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def until(what: str, question: Callable[[], T]) -> T:
    """Return the first true answer; what fails is asked again."""
    end = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(AssertionError, OSError, ValueError):
            if answer := question():
                return answer
        if time.monotonic() > end:
            raise AssertionError(f"waited {PATIENCE_S} s in vain: {what}")
        time.sleep(0.5)


def say(text: str) -> None:
    """Add a line to what the host is shown."""
    sys.stdout.write(f"{time.monotonic():7.1f} s  {text}\n")
    sys.stdout.flush()


def make_world() -> None:
    """Make a network with a peer that counts; the programs that send are copies of Python."""
    for program in (GOOD, OTHER):
        shutil.copy(Path("/usr/bin/python3").resolve(), program)
    run("ip", "netns", "add", "peer")
    run("ip", "link", "add", "out", "type", "veth", "peer", "name", "in", "netns", "peer")
    for inside, device, address in (((), "out", HERE), (("-n", "peer"), "in", PEER)):
        run("ip", *inside, "address", "add", f"{address}/24", "dev", device)
        run("ip", *inside, "link", "set", device, "up")
    run("ip", "netns", "exec", "peer", "nft", "-f", "-", text=COUNTS)


def send_for_ever() -> None:
    """Send as a program that no rule allows, a new flow each time."""
    while True:
        send(OTHER_PORT)
        time.sleep(0.5)


def send(port: int) -> None:
    """Send one datagram; to be refused is no matter."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender, contextlib.suppress(OSError):
        sender.sendto(b"x", (PEER, port))


def counted(name: str) -> int:
    """Return how many datagrams have reached the peer."""
    listed = run("ip", "netns", "exec", "peer", "nft", "-j", "list", "counters")
    counters = [each["counter"] for each in json.loads(listed)["nftables"] if "counter" in each]
    return sum(int(each["packets"]) for each in counters if each["name"] == name)


def shown(unit: str, setting: str) -> str:
    """Return one property of a unit."""
    return run("systemctl", "show", "--value", "-p", setting, unit).strip()


def status() -> dict[str, object]:
    """Return what the daemon says about itself."""
    answer: dict[str, object] = json.loads(run(COMMAND, "status", "--json"))
    return answer


def ready() -> int:
    """Wait until the daemon is ready; return its process id."""
    until("the daemon is active", lambda: shown(UNIT, "ActiveState") == "active")
    return int(shown(UNIT, "MainPID"))


def good_gets_out() -> None:
    """Have the program that is allowed send until one datagram arrives."""
    before = counted("good")

    def gets_out() -> bool:
        run(str(GOOD), "-I", ME, "send-good")
        return counted("good") > before

    until("what is allowed gets out", gets_out)


def decisions(exe: Path) -> list[dict[str, object]]:
    """Return the decisions on a program's flows that have been written."""
    lines = RECORDS.read_text("utf-8").splitlines()
    return [record for line in lines if (record := json.loads(line)).get("exe") == str(exe)]


def nothing_has_left() -> None:
    """Assert that no datagram of the program that is not allowed has ever arrived."""
    assert counted("other") == 0, f"{counted('other')} datagrams have left"


# -- what is shown, in this order --


def the_rules_are_in_force_before_there_is_a_network() -> None:
    """Compare when the early unit was through with when network-pre.target was reached."""
    until(
        "the network may be set up", lambda: shown("network-pre.target", "ActiveState") == "active"
    )
    assert shown(EARLY, "ActiveState") == "active"
    loaded, reached = (
        int(shown(unit, "ActiveEnterTimestampMonotonic")) for unit in (EARLY, "network-pre.target")
    )
    assert 0 < loaded <= reached, (loaded, reached)


def the_daemon_takes_over_and_decides() -> None:
    """One program's flows pass, another's do not, and both are written down."""
    until("the daemon is started", lambda: shown(UNIT, "ActiveState") != "inactive")
    ready()
    good_gets_out()
    until("the allowed flow is written down", lambda: decisions(GOOD))
    until("the denied flow is written down", lambda: decisions(OTHER))
    assert {(each["verdict"], each["rule"]) for each in decisions(GOOD)} == {("accept", "good")}
    assert {each["verdict"] for each in decisions(OTHER)} == {"drop"}
    say(f"attach mode {status()['attach']}: {status()['attach_why']}")


def it_needs_less_memory_than_it_may_use() -> None:
    """Compare the most it ever used, as the control group counted it."""
    group = Path("/sys/fs/cgroup", shown(UNIT, "ControlGroup").lstrip("/"))
    most, limit = (int(shown(UNIT, name)) for name in ("MemoryCurrent", "MemoryMax"))
    peak = group / "memory.peak"
    most = max(most, int(peak.read_text()) if peak.exists() else 0)
    say(f"memory: {most >> 20} of {limit >> 20} MiB, {shown(UNIT, 'TasksCurrent')} tasks")
    assert most < limit


def members_of_its_group_may_look_and_others_may_not() -> None:
    """`status` and `watch`, as a user that sysusers.d made."""
    member = ("setpriv", "--reuid=watcher", "--regid=watcher", "--init-groups", "--")
    stranger = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--")
    assert json.loads(run(*member, COMMAND, "status", "--json"))["rules"] == 1
    watch = subprocess.Popen([*member, COMMAND, "watch", "--json"], stdout=subprocess.PIPE)
    try:
        assert watch.stdout
        assert json.loads(watch.stdout.readline())["exe"] == str(OTHER)
    finally:
        watch.kill()
        watch.wait()
    refused = subprocess.run([*stranger, COMMAND, "status"], capture_output=True, check=False)
    assert refused.returncode != 0


def a_reload_puts_new_rules_in_force_and_cuts_what_they_deny() -> None:
    """`systemctl reload`: another generation, and an open connection is closed."""
    server = subprocess.Popen(
        ["/usr/sbin/ip", "netns", "exec", "peer", "/usr/bin/python3", "-I", ME, "serve"]
    )
    client = subprocess.Popen(
        [GOOD, "-I", ME, "stay"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert client.stdout
        assert client.stdout.readline() == "connected\n"
        before = status()["generation"]
        RULES.write_text(ALLOWS_NOBODY, "utf-8")
        run("systemctl", "reload", UNIT)
        assert int(str(status()["generation"])) > int(str(before))
        assert client.stdout.readline() == "cut\n"
    finally:
        for child in (client, server):
            child.kill()
            child.wait()
    RULES.write_text(ALLOWS_GOOD, "utf-8")
    run("systemctl", "reload", UNIT)
    good_gets_out()


def a_killed_daemon_is_started_again_and_the_rules_stay() -> None:
    """SIGKILL, as the kernel sends it to who uses too much memory."""
    pid, restarts = ready(), int(shown(UNIT, "NRestarts"))
    run("kill", "-KILL", str(pid))
    run("nft", "list", "table", "inet", "nfsnitch")
    until("it is started again", lambda: int(shown(UNIT, "NRestarts")) > restarts)
    assert ready() != pid
    good_gets_out()


def the_watchdog_ends_a_daemon_that_stands_still_and_nothing_leaves_meanwhile() -> None:
    """SIGSTOP: even what is allowed has nobody to judge it."""
    pid, restarts = ready(), int(shown(UNIT, "NRestarts"))
    run("kill", "-STOP", str(pid))
    before = counted("good")
    while int(shown(UNIT, "MainPID")) == pid and shown(UNIT, "ActiveState") == "active":
        run(str(GOOD), "-I", ME, "send-good")
        assert counted("good") == before or int(shown(UNIT, "MainPID")) != pid
    until("it is started again", lambda: int(shown(UNIT, "NRestarts")) > restarts)
    journal = run("journalctl", "-b", "-u", UNIT, "--no-pager", "-o", "cat")
    assert "Watchdog timeout" in journal, journal
    assert ready() != pid
    good_gets_out()


def each_attach_mode_works_where_a_forbidden_system_call_is_the_end() -> None:
    """Start, decide, reload and stop with each mode; it must end with status 0, by itself."""
    start = next(
        line.partition("=")[2]
        for line in run("systemctl", "cat", UNIT).splitlines()
        if line.startswith("ExecStart=")
    )
    for mode in ("lsm", "kprobe", "cgroup"):
        DROP_IN.parent.mkdir(parents=True, exist_ok=True)
        DROP_IN.write_text(STRICT.format(command=start, mode=mode), "utf-8")
        run("systemctl", "daemon-reload")
        run("systemctl", "restart", UNIT)
        pid = ready()
        assert status()["attach"] == mode, status()
        # Between the two daemons no rules were in force.
        before = counted("other")
        good_gets_out()
        a_reload_puts_new_rules_in_force_and_cuts_what_they_deny()
        assert (int(shown(UNIT, "MainPID")), counted("other")) == (pid, before)
        run("systemctl", "stop", UNIT)
        assert shown(UNIT, "Result") == "success", shown(UNIT, "Result")
        say(f"  mode {mode}")
        # No restart: the rules would be gone in between.
    DROP_IN.unlink()
    run("systemctl", "daemon-reload")


def a_stop_removes_all_rules() -> None:
    """And what was denied leaves: the counter counts."""
    run("systemctl", "stop", UNIT)
    assert run("nft", "list", "ruleset") == ""
    until("what was denied leaves", lambda: counted("other"))


def bad_rules_at_boot_close_the_machine() -> None:
    """Look whether the early unit has done its work then, too: the defaults are in force."""
    RULES.write_text("default: nonsense\n", "utf-8")
    run("systemctl", "restart", EARLY)
    assert shown(EARLY, "ActiveState") == "active"
    run("nft", "list", "table", "inet", "nfsnitch")


SHOWN = (
    the_rules_are_in_force_before_there_is_a_network,
    the_daemon_takes_over_and_decides,
    nothing_has_left,
    it_needs_less_memory_than_it_may_use,
    members_of_its_group_may_look_and_others_may_not,
    a_reload_puts_new_rules_in_force_and_cuts_what_they_deny,
    a_killed_daemon_is_started_again_and_the_rules_stay,
    the_watchdog_ends_a_daemon_that_stands_still_and_nothing_leaves_meanwhile,
    nothing_has_left,
    it_needs_less_memory_than_it_may_use,
    a_stop_removes_all_rules,
    each_attach_mode_works_where_a_forbidden_system_call_is_the_end,
    bad_rules_at_boot_close_the_machine,
)


def check() -> None:
    """Do it all; after a failure say what systemd and the daemon have to say."""
    failed = 0
    for shows in SHOWN:
        try:
            shows()
            say(f"ok      {shows.__name__}")
        except Exception:  # noqa: BLE001 # the next ones are wanted as well
            failed += 1
            say(f"FAILED  {shows.__name__}\n{traceback.format_exc()}")
    if failed:
        units = ("-u", UNIT, "-u", EARLY)
        say(run("journalctl", "-b", *units, "--no-pager", "-n", "150"))
        say(
            run(
                "journalctl",
                "-b",
                "-k",
                "--no-pager",
                "-g",
                "audit|nfsnitch|seccomp|oom|BUG|python",
            )
        )
    say(f"{failed} of {len(SHOWN)} failed")
    if not failed:
        sys.stdout.write("check: all is well\n")


def serve() -> None:
    """Take connections and keep them."""
    with socket.create_server((PEER, TCP_PORT)) as server:
        kept = []
        while True:
            kept.append(server.accept())


def stay() -> None:
    """Connect, say so, and say when the connection is cut."""
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            with socket.create_connection((PEER, TCP_PORT), 5) as connection:
                connection.settimeout(None)
                sys.stdout.write("connected\n")
                sys.stdout.flush()
                with contextlib.suppress(OSError):
                    connection.recv(1)
                sys.stdout.write("cut\n")
                return
        except OSError:
            if time.monotonic() > end:
                raise


DOES: dict[str, Callable[[], None]] = {
    "world": make_world,
    "send": send_for_ever,
    "send-good": lambda: send(GOOD_PORT),
    "serve": serve,
    "stay": stay,
    "check": check,
}

if __name__ == "__main__":
    DOES[sys.argv[1]]()
