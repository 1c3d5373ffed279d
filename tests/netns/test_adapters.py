"""What the adapters do to the kernel, in a network namespace of the test's own."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from builders import own_netns
from nfsnitch.adapters import iptables
from nfsnitch.adapters.enforcement import Enforcement, EnforcementError
from nfsnitch.adapters.iptables import IptablesError, QueueRule
from nfsnitch.adapters.nft import (
    QUEUE_BIT,
    NftError,
    NftRuleset,
    Queueing,
    RulesetOptions,
    remove_if_empty,
)

pytestmark = [pytest.mark.root, pytest.mark.netns]

COMMANDS = ("iptables-nft", "ip6tables-nft")


def said(*command: str) -> str:
    """Run a command in the present network namespace; return what it said."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def ruleset() -> str:
    return said("nft", "list", "ruleset")


def nft(text: str) -> None:
    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)  # noqa: S607


def queue_rules(command: str) -> list[str]:
    """Return the rules that queue."""
    listed = said(command, "-t", "security", "-S").splitlines()
    return [line for line in listed if "NFQUEUE" in line]


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

        queues = re.findall(r"queue(?:-num|.*to| num) (\d+)", everything())
        assert set(queues) == {"8"}
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
        options = RulesetOptions(7, Queueing.IPTABLES, accepted_label=100_000)

        with pytest.raises(NftError, match=r"could not be put in force: .*Error: "):
            NftRuleset().install(options)

        assert ruleset() == ""

    def test_a_refused_ruleset_leaves_the_one_before_in_force(self) -> None:
        nft_rules = NftRuleset()
        nft_rules.install(RulesetOptions(7, Queueing.IPTABLES))
        before = ruleset()

        with pytest.raises(NftError):
            nft_rules.install(RulesetOptions(7, Queueing.IPTABLES, accepted_label=100_000))

        assert ruleset() == before

    def test_only_an_empty_table_is_removed_as_empty(self) -> None:
        nft("table ip empty { }\ntable ip full { chain c { }; }")

        for table in ("ip empty", "ip full", "ip missing"):
            remove_if_empty(table)

        assert ruleset().split() == ["table", "ip", "full", "{", "chain", "c", "{", "}", "}"]

    def test_without_iptables_it_says_what_to_install(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rules = Enforcement(7)
        rules.queueing = Queueing.IPTABLES
        monkeypatch.setenv("PATH", "/nonexistent")

        with pytest.raises(EnforcementError, match=r"iptables-nft is missing.*install the package"):
            rules.install()

        monkeypatch.undo()
        assert ruleset() == ""


def everything() -> str:
    """Return all rules, those of iptables in its own words."""
    return ruleset() + "".join(said(command, "-t", "security", "-S") for command in COMMANDS)


class TestQueueRule:
    """The one rule of iptables-nft."""

    def test_it_is_one_rule_for_each_family_however_often_it_is_installed(self) -> None:
        rule = QueueRule(7, QUEUE_BIT)

        for _ in range(3):
            rule.install()

        for command in COMMANDS:
            (only,) = queue_rules(command)
            assert shlex.split(only)[-2:] == ["--queue-num", "7"]
        rule.remove()
        assert ruleset() == ""

    def test_rules_of_killed_instances_are_replaced_whatever_queue_they_name(self) -> None:
        for queue_num in (5, 6):
            for command in COMMANDS:
                arguments = "-m comment --comment nfsnitch -j NFQUEUE --queue-num"
                said(command, "-t", "security", "-A", "OUTPUT", *arguments.split(), str(queue_num))

        QueueRule(7, QUEUE_BIT).install()

        for command in COMMANDS:
            (only,) = queue_rules(command)
            assert shlex.split(only)[-1] == "7"

    def test_it_comes_first(self) -> None:
        said("iptables-nft", "-t", "security", "-A", "OUTPUT", "-p", "tcp", "-j", "ACCEPT")

        QueueRule(7, QUEUE_BIT).install()

        rules = said("iptables-nft", "-t", "security", "-S", "OUTPUT").splitlines()
        assert ["NFQUEUE" in rule for rule in rules] == [False, True, False]

    @pytest.mark.parametrize(
        "foreign",
        [
            "-A OUTPUT -p tcp -j ACCEPT",
            "-A INPUT -p tcp -j DROP",
            "-A OUTPUT -p udp -j NFQUEUE --queue-num 7",
            "-A OUTPUT -p udp -m comment --comment not-nfsnitch -j ACCEPT",
            "-P OUTPUT DROP",
            "-N mine",
        ],
    )
    def test_rules_of_others_in_its_table_stay(self, foreign: str) -> None:
        said("iptables-nft", "-t", "security", *foreign.split())
        before = said("iptables-nft", "-t", "security", "-S")
        rule = QueueRule(7, QUEUE_BIT)

        rule.install()
        rule.remove()

        assert said("iptables-nft", "-t", "security", "-S") == before
        assert "table ip6" not in ruleset()

    def test_a_rule_of_others_that_leads_to_a_chain_of_our_name_stays(self) -> None:
        said("iptables-nft", "-t", "security", "-N", "nfsnitch")
        said("iptables-nft", "-t", "security", "-A", "OUTPUT", "-p", "tcp", "-j", "nfsnitch")
        before = said("iptables-nft", "-t", "security", "-S")
        rule = QueueRule(7, QUEUE_BIT)

        rule.install()
        rule.remove()

        assert said("iptables-nft", "-t", "security", "-S") == before

    def test_what_iptables_does_not_take_is_said_in_its_words(self) -> None:
        with pytest.raises(IptablesError, match=r"(?s)^iptables-nft -I OUTPUT 1 .*queue-num 70000"):
            QueueRule(70_000, QUEUE_BIT).install()

        assert queue_rules("iptables-nft") == []

    def test_an_iptables_that_hangs_is_given_up(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hangs = tmp_path / "iptables-nft"
        hangs.write_text("#!/bin/sh\nexec sleep 60\n", "ascii")
        hangs.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        monkeypatch.setattr(iptables, "_TIMEOUT_S", 0.05)

        with pytest.raises(IptablesError, match="iptables-nft did not end within"):
            QueueRule(7, QUEUE_BIT).install()
