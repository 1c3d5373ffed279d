"""The hook that refuses sockets past netfilter, by itself: which rules match whom."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from attach_mode import refusals
from builders import own_netns
from nfsnitch.adapters import mounts, netns
from nfsnitch.adapters.bpf.modes import attached
from nfsnitch.adapters.bpf.openings import Opened, OpeningHooks
from nfsnitch.core.attach import AttachMode
from nfsnitch.core.flow import Bypass
from nfsnitch.core.opening import MAX_OPENING_RULES, OpeningRule, OpeningTest, Texts
from nfsnitch.resources import bpf_object

pytestmark = [
    pytest.mark.undisturbed,
    pytest.mark.root,
    pytest.mark.bpf,
    pytest.mark.vm_guest(modes=("lsm",)),
]

BOTH = frozenset(Bypass)
EXE = os.fsencode(Path("/proc/self/exe").resolve())
NOBODY = 65534


def own_cgroup() -> bytes:
    lines = Path("/proc/self/cgroup").read_bytes().splitlines()
    return next(line[3:] for line in lines if line.startswith(b"0::"))


def numbers(field: str, *wanted: int, negated: bool = False) -> OpeningTest:
    return OpeningTest(field, negated, frozenset(wanted))


def texts(
    field: str, *whole: bytes, beginnings: tuple[bytes, ...] = (), negated: bool = False
) -> OpeningTest:
    return OpeningTest(field, negated, Texts(frozenset(whole), frozenset(beginnings)))


def refusing(*tests: OpeningTest, bypasses: frozenset[Bypass] = BOTH) -> OpeningRule:
    return OpeningRule("refuses", refuses=True, bypasses=bypasses, tests=tests)


def allowing(*tests: OpeningTest) -> OpeningRule:
    return OpeningRule("allows", refuses=False, bypasses=BOTH, tests=tests)


class Hook:
    """The hook at work in a network namespace of the test's own; what it tells."""

    def __init__(self, hooks: OpeningHooks, told: list[Opened]) -> None:
        self.hooks, self._told = hooks, told
        self._generation = 0

    def refuses(self, *rules: OpeningRule, bypass: Bypass = Bypass.PACKET) -> bool:
        """Whether this process is refused such a socket by *rules*."""
        self._generation += 1
        self.hooks.use(rules, self._generation, refuse_unattributed=True)
        return is_refused(bypass)

    def told(self) -> list[Opened]:
        while self.hooks.consume():
            pass
        heard, self._told[:] = list(self._told), []
        return heard


def is_refused(bypass: Bypass = Bypass.PACKET) -> bool:
    try:
        socket.socket(bypass.value - 256, socket.SOCK_RAW, 0).close()
    except OSError as problem:
        if problem.errno != errno.EPERM:
            raise
        return True
    return False


@pytest.fixture(name="hook")
def fixture_hook() -> Iterator[Hook]:
    why_not = refusals()[AttachMode.LSM]
    if why_not is not None:
        pytest.skip(f"attach mode lsm: {why_not}")
    told: list[Opened] = []
    with own_netns(), attached(bpf_object(), None, AttachMode.LSM) as programs:
        hooks = OpeningHooks(programs, told.append)
        hooks.begin(netns.cookie(), mounts.of_the_rules().namespace)
        yield Hook(hooks, told)
        hooks.close()


def test_the_rules_are_matched_as_they_are_written(hook: Hook) -> None:
    cgroup, uid, gid = own_cgroup(), os.geteuid(), os.getegid()
    parent = cgroup.rpartition(b"/")[0] + b"/"

    assert not hook.refuses()
    assert hook.refuses(refusing())
    for field, own in (("uid", uid), ("user", uid), ("gid", gid), ("group", gid)):
        assert hook.refuses(refusing(numbers(field, own)))
        assert hook.refuses(refusing(numbers(field, 5, own, 7)))
        assert hook.refuses(refusing(numbers(field, NOBODY, negated=True)))
        assert not hook.refuses(refusing(numbers(field, NOBODY)))
        assert not hook.refuses(refusing(numbers(field, own, negated=True)))
    for field, here, begins in (("exe", EXE, EXE[:5]), ("cgroup", cgroup, parent)):
        assert hook.refuses(refusing(texts(field, here)))
        assert hook.refuses(refusing(texts(field, b"/x", beginnings=(begins, b"/y/"))))
        assert hook.refuses(refusing(texts(field, here + b"x", negated=True)))
        assert not hook.refuses(refusing(texts(field, here + b"x")))
        assert not hook.refuses(refusing(texts(field, here[:-1] + b"~", beginnings=(b"/~/",))))
        assert not hook.refuses(refusing(texts(field, here, negated=True)))
    assert not hook.refuses(refusing(texts("exe", EXE[:-1])))
    assert not hook.refuses(refusing(texts("exe", EXE), numbers("uid", NOBODY)))
    assert hook.refuses(refusing(texts("exe", EXE), numbers("uid", uid)))


def test_the_first_rule_that_matches_decides_and_there_may_be_as_many_as_there_may_be(
    hook: Hook,
) -> None:
    other = refusing(numbers("uid", NOBODY))
    most = [other] * (MAX_OPENING_RULES - 1)

    assert not hook.refuses(allowing(texts("exe", EXE)), refusing())
    assert hook.refuses(refusing(texts("exe", EXE)), allowing())
    assert hook.refuses(*most, refusing())
    assert not hook.refuses(*most, other)


def test_a_rule_speaks_of_the_sockets_that_it_names(hook: Hook) -> None:
    packet = refusing(bypasses=frozenset({Bypass.PACKET}))

    assert hook.refuses(packet)
    assert not hook.refuses(packet, bypass=Bypass.XDP)
    assert hook.refuses(refusing(), bypass=Bypass.XDP)


def test_the_program_in_another_mount_namespace_has_no_path_here(hook: Hook) -> None:
    hook.hooks.begin(netns.cookie(), mounts.of_the_rules().namespace + 1)

    assert not hook.refuses(refusing(texts("exe", EXE)))
    assert not hook.refuses(refusing(texts("exe", b"/other", negated=True)))
    assert hook.refuses(refusing())


def test_what_is_opened_or_refused_is_told_with_who_and_which_rule(hook: Hook) -> None:
    hook.refuses()
    hook.refuses(allowing(numbers("uid", NOBODY)), refusing())
    opened, refused = hook.told()

    assert (opened.refused, opened.rule) == (False, None)
    assert (refused.refused, refused.rule, refused.generation) == (True, 1, 2)
    assert {each.opener.uid for each in (opened, refused)} == {os.geteuid()}
    assert refused.opening.bypass is Bypass.PACKET


def test_nothing_is_refused_or_told_in_other_namespaces_and_after_the_end(hook: Hook) -> None:
    hook.refuses(refusing())
    hook.told()
    with own_netns():
        elsewhere = is_refused()
    here = is_refused()
    hook.hooks.begin(0, 0)

    assert (elsewhere, here, is_refused()) == (False, True, False)
    assert len(hook.told()) == 1
