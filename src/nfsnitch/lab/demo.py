"""The demonstration: real programs, held, attributed and decided by rules.example.yaml.

``python -m nfsnitch.lab.demo`` builds two network namespaces, starts real services in one and the
real firewall in the other, runs programs against it, tells what they saw and what was recorded,
checks every expectation, and exits 0 only if all of them hold.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from nfsnitch.core.record import Json
from nfsnitch.lab.answerer import Answerer
from nfsnitch.lab.firewall import Firewall, having
from nfsnitch.lab.process import Child, Finished, SpawnError, found
from nfsnitch.lab.resolving import resolving
from nfsnitch.lab.services import HTTP_PORT, TELNET_PORT, WELCOME, AllServices, start_all_services
from nfsnitch.lab.story import Story
from nfsnitch.lab.waiting import LabError
from nfsnitch.lab.world import PROGRAM_ENV, World

RULES = Path(__file__).parents[3] / "rules.example.yaml"
UNANSWERED_S = 5.0
"""How long the example's rules hold what nobody answers."""
AT_ONCE_S = 2.0
"""A program that is told "no" aloud, or "yes", is done within this; silence costs it seconds."""
TOOLS = {
    "curl": "curl",
    "nc.openbsd": "netcat-openbsd",
    "dig": "bind9-dnsutils",
    "dnsmasq": "dnsmasq-base",
    "ip": "iproute2",
    "nft": "nftables",
}
"""Program → the Debian package that has it."""
_WEB = "http://192.0.2.1/"
_CURL_TIMED_OUT = 28
_EXIT_FAILED = 1
_EXIT_USAGE = 2
_EXIT_INTERRUPTED = 130


class Demo:
    """The scenes, in the order in which they are played."""

    def __init__(
        self, story: Story, world: World, services: AllServices, firewall: Firewall
    ) -> None:
        self._story = story
        self._world = world
        self._services = services
        self._firewall = firewall

    def play(self) -> None:
        """Play them all."""
        self.allowed()
        self.denied()
        self.rejected()
        self.udp_lookup()
        self.ipv6()
        self.by_name()
        self.unknown_program()
        self.asked()
        self.gone_again()

    def allowed(self) -> None:
        """Play: curl may go there."""
        self._story.heading("1. curl to 192.0.2.1: allowed")
        done = self._run(["curl", "-sS", "--max-time", "3", _WEB])
        self._check_page(done)
        self._check_record(done, verdict="accept", action="allow")

    def denied(self) -> None:
        """Play: curl may not go there, and learns nothing."""
        self._story.heading("2. curl to 203.0.113.1: denied, the packets vanish")
        done = self._run(["curl", "-sS", "--max-time", "3", "http://203.0.113.1/"])
        self._story.check(
            "curl hears nothing at all and gives up when its own time is over (exit 28)",
            holds=done.returncode == _CURL_TIMED_OUT,
            seen=f"exit {done.returncode}",
        )
        self._check_record(done, verdict="drop", action="deny")

    def rejected(self) -> None:
        """Play: nc is told no aloud."""
        self._story.heading("3. nc.openbsd: rejected, and told so at once")
        done = self._run(["nc.openbsd", "-n", "-v", "-w", "3", "192.0.2.1", str(TELNET_PORT)])
        self._story.check(
            "nc fails with 'Connection refused'",
            holds=done.returncode != 0 and "Connection refused" in done.stderr,
            seen=f"exit {done.returncode}",
        )
        self._check_at_once(done)
        arrived = self._services.arrived("tcp")
        self._story.check(
            "the server, which does listen there, has seen nothing of it",
            holds=not arrived,
            seen="; ".join(arrived),
        )
        self._check_record(done, verdict="reject", action="reject")

    def udp_lookup(self) -> None:
        """Play: a DNS lookup over UDP."""
        self._story.heading("4. dig, a lookup over UDP: allowed")
        options = ("+short", "+tries=1", "+time=3")
        done = self._run(["dig", "@192.0.2.1", "example.test", "A", *options])
        self._story.check(
            "dig has the address that the DNS server knows",
            holds=done.stdout == "192.0.2.1\n",
            seen=f"exit {done.returncode}, {done.stdout.strip()}",
        )
        self._check_record(done, verdict="accept", action="allow", proto="udp", dport=53)

    def ipv6(self) -> None:
        """Play: the same over IPv6."""
        self._story.heading("5. curl over IPv6: allowed")
        done = self._run(["curl", "-sS", "--max-time", "3", "http://[2001:db8::1]/"])
        self._check_page(done)
        self._check_record(done, verdict="accept", action="allow", daddr="2001:db8::1")

    def by_name(self) -> None:
        """Play: two names of one address, one of which is refused."""
        self._story.heading("6. curl to one address by two names: one is rejected, by its name")
        for host, verdict, action in (
            ("tracker.example", "reject", "reject"),
            ("example.test", "accept", "allow"),
        ):
            argv = ["curl", "-4", "-sS", "--max-time", "3", f"http://{host}/"]
            self._story.command(argv)
            done = self._world.run(resolving(self._world, argv))
            self._saw(done)
            if verdict == "accept":
                self._check_page(done)
            self._check_record(
                done,
                verdict=verdict,
                action=action,
                host=host,
                daddr="192.0.2.1",
                dport=HTTP_PORT,
                args=argv,
                exe=os.path.realpath(found("curl", PROGRAM_ENV)),
            )

    def unknown_program(self) -> None:
        """Play: a program no rule knows is held; nobody else has to wait for it."""
        self._story.heading(
            f"7. a program that no rule knows: held, and denied when nobody has answered for "
            f"{UNANSWERED_S:g} s"
        )
        mystery = self._start_mystery()
        self._story.heading("   meanwhile, curl again: not delayed by the one that is held")
        curl = self._run(["curl", "-sS", "--max-time", "3", _WEB])
        self._check_page(curl)
        self._check_at_once(curl)
        curl_record = self._check_record(curl, verdict="accept", action="allow")
        self._story.heading("   back to mystery")
        done = mystery.finish(UNANSWERED_S * 3)
        self._saw(done)
        record = self._check_record(done, verdict="drop", action="ask", reason="unanswered")
        if record is not None and curl_record is not None:
            self._check_held(record, curl_record)

    def asked(self) -> None:
        """Play: somebody is asked, and says yes, for ever."""
        self._story.heading("8. another one: somebody is asked, and the answer lets it go on")
        program = str(self._world.own_copy("curl", "novelty"))
        argv = [program, "-sS", "--max-time", f"{UNANSWERED_S + 1:g}", _WEB]
        self._story.command(argv)
        with Answerer(self._world) as somebody:
            waiting = self._world.spawn(argv)
            question = somebody.question_of(waiting.pid)
            to = f"{question.flow['daddr']}, port {question.flow['dport']}"
            self._story.fact("question", f"may {question.owner['exe']} connect to {to}?")
            answered = somebody.answer(question.number, duration="forever")
        done = waiting.finish(UNANSWERED_S * 3)
        rule = ", ".join(answered.rules)
        self._story.fact("answer", f"yes, for ever: rule '{rule}'")
        self._saw(done)
        self._check_page(done)
        self._check_record(done, verdict="accept", action="ask", reason="answered", rule=rule)
        self._story.heading("   and again: the answer is a rule now")
        self._check_record(self._run(argv), verdict="accept", action="allow", rule=rule)

    def gone_again(self) -> None:
        """Play: after a stop nothing is left."""
        self._story.heading("9. the firewall stops: nothing of it is left in the namespace")
        before = self._ruleset()
        self._story.fact("before", f"nft list ruleset: {len(before.splitlines())} lines")
        self._story.check("there were rules while it ran", holds=bool(before.strip()))
        stopped = self._firewall.stop()
        self._story.check(
            "the daemon ends with status 0 on SIGTERM",
            holds=stopped.returncode == 0,
            seen=f"status {stopped.returncode}, {stopped.stderr.strip()}",
        )
        after = self._ruleset()
        self._story.fact("after", f"nft list ruleset: {len(after.splitlines())} lines")
        self._story.check("the ruleset is empty", holds=not after.strip(), seen=after)

    def _start_mystery(self) -> Child:
        program = self._world.own_copy("curl", "mystery")
        argv = [str(program), "-v", "-sS", "--max-time", f"{UNANSWERED_S + 1:g}", _WEB]
        self._story.command(argv)
        mystery = self._world.spawn(argv)
        mystery.wait_for_line(mystery.stderr, lambda line: "Trying" in line, AT_ONCE_S * 10)
        return mystery

    def _run(self, argv: Sequence[str]) -> Finished:
        self._story.command(argv)
        done = self._world.run(argv)
        self._saw(done)
        return done

    def _saw(self, done: Finished) -> None:
        # curl -v tells its whole life on lines that begin with a star: the last one is the news.
        said = (done.stdout + done.stderr).strip().splitlines()
        self._story.fact(
            "program saw",
            f"exit {done.returncode} after {done.elapsed_s * 1000:.0f} ms: "
            f"{said[-1] if said else 'nothing'}",
        )

    def _ruleset(self) -> str:
        done = self._world.run(["nft", "list", "ruleset"], cgroup=self._world.infra)
        if done.returncode:
            raise LabError(f"nft list ruleset: {done.stderr.strip()}")
        return done.stdout

    def _check_page(self, done: Finished) -> None:
        self._story.check(
            "the page arrives",
            holds=done.returncode == 0 and done.stdout == WELCOME,
            seen=f"exit {done.returncode}",
        )

    def _check_at_once(self, done: Finished) -> None:
        self._story.check(
            f"that took {done.elapsed_s * 1000:.0f} ms: at once",
            holds=done.elapsed_s < AT_ONCE_S,
        )

    def _check_record(
        self, done: Finished, *, verdict: str, action: str, reason: str = "rule", **more: object
    ) -> Json | None:
        """Find the record of the process that ran, show it, and check all that must be in it.

        Of several it is the one with the *more* that says where it went.
        """
        there = {name: more[name] for name in ("dport",) if name in more}
        try:
            record = self._firewall.wait_for_record(having(pid=done.pid, **there))
        except LabError as error:
            self._story.check(f"there is a record of pid {done.pid}", holds=False, seen=str(error))
            return None
        self._story.record(record)
        expected = {
            "verdict": verdict,
            "action": action,
            "reason": reason,
            "exe": os.path.realpath(found(done.argv[0], PROGRAM_ENV)),
            "args": list(done.argv),
            **more,
        }
        wrong = [
            f"{name} is {record[name]!r}, not {value!r}"
            for name, value in expected.items()
            if record[name] != value
        ]
        if _parent_pid(record) != os.getpid():
            wrong.append(f"the parent is {_parent_pid(record)}, not {os.getpid()}")
        if record["attribution"] == "none":
            wrong.append("nothing told whose it was")
        self._story.check(
            f"{verdict} ({reason}) it is, and exe, arguments and parent are those that were run",
            holds=not wrong,
            seen="; ".join(wrong),
        )
        return record

    def _check_held(self, held: Json, other: Json) -> None:
        held_s = held["held_ms"] / 1000
        self._story.check(
            f"mystery was held for the whole {UNANSWERED_S:g} s",
            holds=UNANSWERED_S - 0.1 <= held_s <= UNANSWERED_S + 1,
            seen=f"{held_s:.3f} s",
        )
        until, decided = (datetime.fromisoformat(record["time"]) for record in (held, other))
        before_s = (until - decided).total_seconds()
        self._story.check(
            f"by the records curl was decided while mystery was held, {before_s:.2f} s before it",
            holds=0 < before_s < held_s,
            seen=f"{before_s:.3f} s before, held {held_s:.3f} s",
        )


def _parent_pid(record: Json) -> object:
    parents = record["parents"]
    return parents[0]["pid"] if isinstance(parents, list) and parents else None


def main(argv: Sequence[str] | None = None) -> int:
    """Play the demonstration; return the exit status."""
    parser = argparse.ArgumentParser(prog="nfsnitch-demo", description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--rules", type=Path, default=RULES, help="rule file (default: %(default)s)"
    )
    options = parser.parse_args(argv)
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        check_ground(options.rules)
    except LabError as error:
        sys.stderr.write(f"nfsnitch demo: {error}\n")
        return _EXIT_USAGE
    try:
        return perform(Story(sys.stdout), options.rules)
    except LabError as error:
        sys.stderr.write(f"nfsnitch demo: it broke off: {error}\n")
        return _EXIT_FAILED
    except KeyboardInterrupt:
        sys.stderr.write("nfsnitch demo: interrupted, everything has been torn down\n")
        return _EXIT_INTERRUPTED


def check_ground(rules: Path) -> None:
    """Raise `LabError` with all that is missing."""
    if os.geteuid():
        raise LabError("it makes network namespaces and loads eBPF programs: run it as root")
    if not rules.is_file():
        raise LabError(f"there is no rule file {rules}")
    missing = []
    for tool, package in TOOLS.items():
        try:
            found(tool, PROGRAM_ENV)
        except SpawnError:
            missing.append(f"{tool} (Debian package {package})")
    if missing:
        raise LabError(f"these programs are missing: {', '.join(missing)}")


def perform(story: Story, rules: Path) -> int:
    """Build the stage, play, and return the exit status."""
    began = time.monotonic()
    story.say(
        "Two network namespaces, client 192.0.2.2 and 2001:db8::2, server 192.0.2.1 and "
        "2001:db8::1, joined by a wire. The real firewall enforces in the client's; the rules of "
        f"this machine are not touched. Rules: {rules.name}"
    )
    with World() as world:
        services = start_all_services(world)
        with Firewall(world, [rules]) as firewall:
            story.say(f"Ready after {time.monotonic() - began:.1f} s.")
            Demo(story, world, services, firewall).play()
    return close(story, time.monotonic() - began)


def close(story: Story, took_s: float) -> int:
    """Write the end, and return the exit status."""
    story.heading(
        f"{story.held} of {story.held + len(story.failures)} expectations hold, "
        f"{took_s:.1f} s in all"
    )
    for failure in story.failures:
        story.fact("NOT SO", failure)
    return _EXIT_FAILED if story.failures else 0


if __name__ == "__main__":
    sys.exit(main())
