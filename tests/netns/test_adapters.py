"""What the adapters do to the kernel, in a network namespace of the test's own."""

from __future__ import annotations

import errno
import os
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace

import pytest

from builders import own_netns
from nfsnitch.adapters import nft_extensions, queue_target
from nfsnitch.adapters.enforcement import Enforcement, EnforcementError
from nfsnitch.adapters.nfqueue import PacketQueue
from nfsnitch.adapters.nft import NftError, NftRuleset, Queueing, RulesetOptions
from nfsnitch.core.settings import FailMode, Loopback, Settings
from queue_play import SO_SNDBUFFORCE

_MOST_SENT = 2_000
OF_ANOTHER_VERSION = """
table inet nfsnitch {
    counter judged { packets 0 bytes 0 }
    counter seen { packets 3 bytes 7 }
    chain refuse {
    }
    chain older {
        counter name seen drop
    }
    chain pick {
        type filter hook output priority 100; policy accept;
        jump older
    }
    chain earlier {
        type filter hook input priority 0; policy accept;
    }
}
"""

pytestmark = [pytest.mark.root, pytest.mark.netns]


def said(*command: str) -> str:
    """Run a command in the present network namespace; return what it said."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def ruleset() -> str:
    return said("nft", "list", "ruleset")


def nft(text: str) -> None:
    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)  # noqa: S607


def exchanged_on_loopback() -> bytes | None:
    """Send a datagram to ourselves; return what came of it, None if it was refused or lost."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(0)
        with suppress(OSError):
            sender.sendto(b"answered", receiver.getsockname())
        # What goes to ourselves is there when sendto(2) is back.
        with suppress(BlockingIOError):
            return receiver.recv(16)
    return None


def queues() -> set[int]:
    """Return the numbers of the queues that rules lead to, by nft or by iptables' target."""
    return set(map(int, re.findall(r"queue.*(?:num|to) (\d+)", ruleset())))


@contextmanager
def sending(most: int) -> Iterator[None]:
    """Send datagrams to ourselves without a pause meanwhile, so many at most."""
    has_begun, is_over = threading.Event(), threading.Event()

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 64 << 20)  # all wait at once
            for _ in range(most):
                sender.sendto(b"on and on", ("127.0.0.1", 9))
                has_begun.set()
                if is_over.is_set():
                    return

    thread = threading.Thread(target=send)
    thread.start()
    try:
        assert has_begun.wait(10)
        yield
    finally:
        is_over.set()
        thread.join()


@pytest.fixture(autouse=True)
def _apart() -> Iterator[None]:
    with own_netns():
        assert ruleset() == ""
        yield


class TestEnforcement:
    """The rules come and go whole."""

    def test_installing_and_removing_leaves_nothing_behind(self) -> None:
        rules = Enforcement(7)

        rules.install()
        installed = NftRuleset().is_installed()
        rules.remove()

        assert installed
        assert not NftRuleset().is_installed()
        assert ruleset() == ""

    def test_removing_what_was_never_installed_changes_nothing(self) -> None:
        Enforcement(7).remove()

        assert ruleset() == ""

    def test_trying_out_whether_nft_can_queue_leaves_nothing_behind(self) -> None:
        NftRuleset().can_queue()

        assert ruleset() == ""

    def test_installing_twice_is_as_good_as_once(self) -> None:
        rules = Enforcement(7)
        rules.install()
        once = ruleset()

        rules.install()

        assert ruleset() == once
        rules.remove()
        assert ruleset() == ""

    def test_an_instance_with_another_queue_takes_over_from_one_that_was_killed(self) -> None:
        Enforcement(7).install()
        fresh = Enforcement(8)

        fresh.install()

        assert queues() == {8}
        fresh.remove()
        assert ruleset() == ""

    def test_a_table_of_others_stays_as_it_is(self) -> None:
        nft("table inet other { chain output { type filter hook output priority 0; counter; }; }")
        before = ruleset()
        rules = Enforcement(7)

        rules.install()
        rules.remove()

        assert ruleset() == before

    def test_a_failure_leaves_no_rule_of_ours(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuses(_self: NftRuleset, _options: RulesetOptions) -> None:
            raise NftError("for the test")

        monkeypatch.setattr(NftRuleset, "install", refuses)

        with pytest.raises(EnforcementError, match="for the test"):
            Enforcement(7).install()

        assert ruleset() == ""

    def test_a_queue_number_that_nft_does_not_take_is_said_in_its_words(self) -> None:
        options = RulesetOptions(7, Queueing.XTABLES, accepted_label=100_000)

        with pytest.raises(NftError, match=r"could not be put in force: .*Error: "):
            NftRuleset().install(options)

        assert ruleset() == ""

    def test_a_refused_ruleset_leaves_the_one_before_in_force(self) -> None:
        nft_rules = NftRuleset()
        nft_rules.install(RulesetOptions(7, Queueing.XTABLES))
        before = ruleset()

        with pytest.raises(NftError):
            nft_rules.install(RulesetOptions(7, Queueing.XTABLES, accepted_label=100_000))

        assert ruleset() == before


class TestXtables:
    """Queueing by iptables' target, as where nft cannot queue: any kernel that has it will do."""

    OPTIONS = RulesetOptions(7, Queueing.XTABLES)

    def test_what_is_judged_goes_to_the_queue_of_that_number(self) -> None:
        rules = NftRuleset()

        rules.install(self.OPTIONS)

        assert queues() == {7}
        assert rules.is_in_force(self.OPTIONS)

    def test_another_number_takes_the_place_of_the_one_before(self) -> None:
        rules, other = NftRuleset(), replace(self.OPTIONS, queue_num=8)
        rules.install(self.OPTIONS)

        rules.install(other)

        assert queues() == {8}
        assert (rules.is_in_force(self.OPTIONS), rules.is_in_force(other)) == (False, True)

    def test_while_a_table_becomes_one_of_another_shape_no_packet_goes_by(self) -> None:
        said("ip", "link", "set", "lo", "up")
        rules = NftRuleset()
        plain = replace(self.OPTIONS, fail=FailMode.OPEN, loopback=Loopback.JUDGE)
        other = replace(plain, forward=True)
        rules.install(plain)
        with closing(PacketQueue(7, Settings(queue_length=10 * _MOST_SENT))):
            for options in (other, plain) * 5:
                with sending(_MOST_SENT):
                    rules.install(options)

        counts = rules.counts()
        assert counts is not None
        assert counts["judged"] >= 10
        assert counts["bypassed"] == 0

    def test_what_waits_goes_on_waiting_when_the_table_gets_another_shape(self) -> None:
        said("ip", "link", "set", "lo", "up")
        rules, judging = NftRuleset(), replace(self.OPTIONS, loopback=Loopback.JUDGE)
        rules.install(judging)
        with closing(PacketQueue(7)) as queue:
            assert exchanged_on_loopback() is None

            rules.install(replace(judging, forward=True))

            assert queue.kernel_counters().waiting == 1

    def test_a_table_of_another_version_comes_to_be_as_if_it_had_been_made_by_this_one(
        self,
    ) -> None:
        rules = NftRuleset()
        rules.install(self.OPTIONS)
        ours = ruleset()
        nft("delete table inet nfsnitch")
        nft(OF_ANOTHER_VERSION)

        rules.install(self.OPTIONS)

        assert sorted(ruleset().splitlines()) == sorted(ours.splitlines())

    def test_a_table_of_another_shape_is_replaced_and_the_counters_count_on(self) -> None:
        said("ip", "link", "set", "lo", "up")
        rules, judging = NftRuleset(), replace(self.OPTIONS, loopback=Loopback.JUDGE)
        forwarding = replace(judging, forward=True)
        rules.install(judging)
        exchanged_on_loopback()

        rules.install(forwarding)

        assert queues() == {7}
        assert rules.is_in_force(forwarding)
        assert rules.counts() == {"judged": 1, "bypassed": 0, "caught": 0, "cached": 0}

    @pytest.mark.parametrize(
        ("fail", "reply"), [(FailMode.OPEN, b"answered"), (FailMode.CLOSED, None)]
    )
    def test_without_a_worker_packets_leave_or_stay_as_the_rules_say(
        self, fail: FailMode, reply: bytes | None
    ) -> None:
        said("ip", "link", "set", "lo", "up")
        NftRuleset().install(replace(self.OPTIONS, fail=fail, loopback=Loopback.JUDGE))

        assert exchanged_on_loopback() == reply

    def test_without_the_rule_that_queues_the_ruleset_is_not_in_force(self) -> None:
        rules = NftRuleset()
        rules.install(self.OPTIONS)

        nft("flush chain inet nfsnitch worker")

        assert not rules.is_in_force(self.OPTIONS)

    def test_what_the_kernel_refuses_leaves_nothing_behind(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(queue_target, "_TARGET", "NOSUCH")

        with pytest.raises(NftError, match=r"cannot be queued.*XT_TARGET_NFQUEUE"):
            NftRuleset().install(self.OPTIONS)

        assert ruleset() == ""

    def test_without_a_netlink_socket_it_is_refused_as_by_the_kernel(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def none_left(_messages: object, answers: int) -> None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), answers)

        monkeypatch.setattr(nft_extensions, "_sent", none_left)

        with pytest.raises(NftError, match="Too many open files"):
            NftRuleset().install(self.OPTIONS)

        assert ruleset() == ""

    def test_a_refusal_leaves_what_was_in_force_before(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rules = NftRuleset()
        rules.install(self.OPTIONS)
        before = ruleset()
        monkeypatch.setattr(queue_target, "_TARGET", "NOSUCH")

        with pytest.raises(NftError, match="cannot be queued"):
            rules.install(replace(self.OPTIONS, queue_num=8))

        assert ruleset() == before
