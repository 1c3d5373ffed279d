"""The store of names: its bounds, and who cannot do what to whom, whatever happens."""

from __future__ import annotations

import collections
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from naming_play import HOME, SECOND_NS, NamePlay, packed, user_process
from nfsnitch.core.counters import Counter
from nfsnitch.core.name import Name, NameSource
from nfsnitch.core.owner import Process
from nfsnitch.core.settings import Limits
from nfsnitch.naming.known import MOST_OF_ADDRESS, KnownNames

ME, YOU = user_process(pid=1), user_process(pid=2, uid=1_001)
MOST, MOST_OF_PROCESS = 40, 20
KEEP_NS = 1_000 * SECOND_NS
UIDS = (0, 102, 1_000, 1_001, 65_534)
NAMESPACES = (HOME, 4_026_532_000)


def test_of_too_many_names_of_one_process_its_oldest_are_forgotten_and_counted() -> None:
    play = NamePlay(Limits(names_of_process=2))
    play.resolves(YOU, "yours.example", "192.0.2.9")
    for at in range(3):
        play.resolves(ME, f"{at}.example", f"192.0.2.{at}")
    assert [play.texts(ME, f"192.0.2.{at}") for at in range(3)] == [
        [],
        ["1.example"],
        ["2.example"],
    ]
    assert play.texts(YOU, "192.0.2.9") == ["yours.example"]
    assert play.counters[Counter.NAMES_FORGOTTEN] == 1


def test_of_too_many_names_of_one_address_the_oldest_is_forgotten_and_counted() -> None:
    play = NamePlay()
    for at in range(MOST_OF_ADDRESS + 1):
        play.resolves(ME, f"{at}.example", "192.0.2.1", at_s=at)
    newest_first = [f"{at}.example" for at in range(MOST_OF_ADDRESS, 0, -1)]
    assert play.texts(ME, "192.0.2.1") == newest_first
    assert play.counters[Counter.NAMES_FORGOTTEN] == 1


def test_no_user_can_push_out_what_another_knows_however_many_names_it_asks_for() -> None:
    play = NamePlay(Limits(names=100, names_of_process=50))
    for at in range(20):
        play.resolves(YOU, f"{at}.yours.example", f"198.51.100.{at}")
    for at in range(1_000):
        flooder = replace(ME, pid=1_000 + at % 97)
        play.resolves(flooder, f"{at}.example", f"192.0.2.{at % 256}", at_s=at / 1_000)
    assert all(
        play.texts(YOU, f"198.51.100.{at}", at_s=1) == [f"{at}.yours.example"] for at in range(20)
    )
    assert len(play.names) <= 100


def test_names_that_are_too_old_are_not_counted_as_forgotten() -> None:
    play = NamePlay(Limits(names=4), keep_s=10)
    for at in range(4):
        play.resolves(ME, f"{at}.example", f"192.0.2.{at}", ttl_s=5)
    for at in range(4):
        play.resolves(ME, f"new{at}.example", f"198.51.100.{at}", at_s=100)
    assert play.counters[Counter.NAMES_FORGOTTEN] == 0


def test_smaller_limits_hold_at_once() -> None:
    play = NamePlay()
    for at in range(10):
        play.resolves(ME, f"{at}.example", f"192.0.2.{at}")
    smaller = replace(play.settings, limits=Limits(names=3))
    play.names.set(smaller)
    assert len(play.names) == 3


class Store(RuleBasedStateMachine):
    """The store against a model that keeps everything, and so says what may be known at most."""

    @initialize()
    def begin(self) -> None:
        self.now_ns = 0
        self.known = KnownNames(HOME, Limits(names=MOST, names_of_process=MOST_OF_PROCESS), KEEP_NS)
        self.learnt: list[tuple[Process, bytes, Name]] = []

    @rule(
        pid=st.integers(1, 4),
        uid=st.sampled_from(UIDS),
        netns=st.sampled_from(NAMESPACES),
        last=st.integers(1, 12),
        label=st.integers(0, 12),
        ttl_s=st.sampled_from([None, 0, 100, 5_000]),
    )
    def learn(
        self, pid: int, uid: int, netns: int, last: int, label: int, ttl_s: int | None
    ) -> None:
        who, address = user_process(pid, uid, netns), packed(f"192.0.2.{last}")
        name = Name(f"{label}.example", NameSource.DNS, own=True, known_ns=self.now_ns, ttl_s=ttl_s)
        self.learnt.append((who, address, name))
        self.known.learn(who, address, name)
        assert name.text in {each.text for each in self.known.own(who, address)}
        own = self.known.names_of(who, address, self.now_ns)
        assert own.names[0].text == name.text

    @rule(passed_s=st.sampled_from([1, 70, 500, 2_000]))
    def time_passes(self, passed_s: int) -> None:
        self.now_ns += passed_s * SECOND_NS

    @rule()
    def tidy(self) -> None:
        self.known.tidy(self.now_ns)

    @invariant()
    def nothing_is_known_that_was_not_learnt_by_one_who_may_say_so(self) -> None:
        for uid in UIDS:
            for netns in NAMESPACES:
                stranger = user_process(99, uid, netns)
                for last in (1, 5):
                    self._check(stranger, packed(f"192.0.2.{last}"))

    def _check(self, who: Process, address: bytes) -> None:
        may = {
            name.text
            for asker, its, name in self.learnt
            if its == address
            and asker.netns == who.netns
            and (asker.uid == who.uid or asker.uid < 1_000 or asker.uid == 65_534)
            and self.now_ns <= name.known_ns + max(name.ttl_s or 0, 60) * SECOND_NS + KEEP_NS
        }
        names = self.known.names_of(who, address, self.now_ns).names
        assert {name.text for name in names} <= may
        assert len({name.text for name in names}) == len(names)
        assert len({name.is_stale(self.now_ns) for name in names}) <= 1
        assert [each.known_ns for each in names] == sorted(
            (each.known_ns for each in names), reverse=True
        )

    @invariant()
    def no_bound_is_passed(self) -> None:
        places = list(self.known.listing(0))
        assert len(self.known) <= MOST
        assert len(places) <= len(self.known)
        of_process = collections.Counter(place[2:6] for place in places)
        assert max(of_process.values(), default=0) <= MOST_OF_PROCESS
        of_address = collections.Counter(place[1:] for place in places)
        assert max(of_address.values(), default=0) <= MOST_OF_ADDRESS


Store.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestStore = Store.TestCase


def test_who_has_very_many_user_ids_pushes_out_nobody_but_them() -> None:
    play = NamePlay()
    alice, resolver = user_process(pid=1, uid=1_000), user_process(pid=2, uid=101)
    play.resolves(resolver, "one.example", "192.0.2.1")
    play.resolves(alice, "two.example", "192.0.2.2")
    for number in range(1_000):
        subordinate = user_process(pid=10 + number, uid=100_000 + number)
        play.resolves(subordinate, "many.example", "192.0.2.3")

    assert play.texts(resolver, "192.0.2.1") == ["one.example"]
    assert play.texts(alice, "192.0.2.2") == ["two.example"]
