"""All rules together: the first one whose every condition matches decides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from nfsnitch.core.case import Case
from nfsnitch.core.conditions import CGROUP_FIELDS, SADDR_FIELD, SCRIPT_FIELD, bypasses_of
from nfsnitch.core.decision import Action, Reason
from nfsnitch.core.identity import Pending
from nfsnitch.core.instant import Instant
from nfsnitch.core.listing import Entry, NamedList
from nfsnitch.core.owner import Owner, Process
from nfsnitch.core.repeatable import is_repeatable
from nfsnitch.core.rule import IDENTITY_FIELDS, NAME_FIELDS, Condition, Rule
from nfsnitch.core.settings import Seeing, Settings
from nfsnitch.core.timed import DeadlineCondition, ExpiryCondition, ScheduleCondition, Timed
from nfsnitch.core.unknown import Unknown

if TYPE_CHECKING:
    from nfsnitch.core.rule_index import RuleIndex

FEWEST_RULES = 16
"""Fewer are walked through as fast as an index finds them."""
_MOST_BY_SENDER = 2_048
"""Of more there is no index by program alone: it would take as long to make as the others."""
_TIMED = (ScheduleCondition, ExpiryCondition, DeadlineCondition)

_OF_ONE_FLOW = NAME_FIELDS | {SADDR_FIELD}
"""What an index looks up, and flows of one program to one destination need not have alike."""
_MAY_LACK = IDENTITY_FIELDS | NAME_FIELDS

FLOW_FIELDS = frozenset(
    {"family", "proto", "dport", "daddr", "sport", "saddr", "iface", "iface_in"}
)
"""Fields that speak of a flow, and so of nothing that is known when a name is asked for."""


class Ruling(NamedTuple):
    """What the rules say of one flow."""

    action: Action
    reason: Reason
    rule: str | None
    entry: Entry | None = None
    """The line of a list by which that rule matched."""


class Traits(NamedTuple):
    """What has to be known of all rules together, so that nobody looks through them again."""

    timed: tuple[Timed, ...] = ()
    """All conditions that look at the clock."""
    asks_script: bool = False
    asks_identity: bool = False
    asks_names: bool = False
    refuses_questions: bool = False
    asks_cgroup: bool = False
    tells_flows_apart: bool = False
    """Whether flows of one program to one destination may differ in what rules look up."""
    varies: bool = False
    """Whether a rule may say something else later, or of a flow with another port of its own."""
    on_openings: tuple[Rule, ...] = ()
    """All that speak of sockets past netfilter, in order."""

    def __add__(self, other: object) -> Traits:
        """Return those of both together."""
        if not isinstance(other, Traits):
            return NotImplemented
        return Traits(
            self.timed + other.timed,
            self.asks_script or other.asks_script,
            self.asks_identity or other.asks_identity,
            self.asks_names or other.asks_names,
            self.refuses_questions or other.refuses_questions,
            self.asks_cgroup or other.asks_cgroup,
            self.tells_flows_apart or other.tells_flows_apart,
            self.varies or other.varies,
            self.on_openings + other.on_openings,
        )


class Layer(NamedTuple):
    """Rules that are walked through together, with what is known of them."""

    rules: Sequence[Rule]
    traits: Traits
    of_flows: RuleIndex | None
    """None: they are too few for one."""
    of_questions: RuleIndex | None
    """The same where nothing but the question of a name is known; None: no rule refuses any."""
    of_programs: RuleIndex | None
    """The same where nothing but a program and a destination is known; None: they are too few, or
    there is none though they are many."""
    of_senders: RuleIndex | None = None
    """The same where nothing but a program and the protocol is known."""

    def for_program(self, case: Case) -> Iterable[Rule] | None:
        """Return as `candidates` does those that may decide flows like this; None: too many may."""
        if self.of_programs is not None:
            return self.of_programs.candidates(case)
        return self.rules if self.of_flows is None else None

    def for_sender(self, case: Case) -> Iterable[Rule] | None:
        """Return the same of flows like this in all but the destination; None: nobody can say."""
        if self.of_senders is not None:
            return self.of_senders.candidates(case)
        return self.rules if self.of_flows is None else None

    def candidates(self, case: Case) -> Iterable[Rule]:
        """Return in their order all rules but some that would surely be passed by."""
        return self.rules if self.of_flows is None else self.of_flows.candidates(case)


def traits_of(rules: Iterable[Rule], conditions: Iterable[Condition] = ()) -> Traits:
    """Return what has to be known of *rules* together, and of *conditions* of others in force.

    Those others neither refuse questions of names nor speak of sockets past netfilter.
    """
    rules = list(rules)
    in_force = [rule for rule in rules if rule.enabled]
    every = [*conditions, *(each for rule in in_force for each in rule.conditions)]
    fields = {each.field for each in every}
    return Traits(
        tuple(each for each in every if isinstance(each, _TIMED)),
        SCRIPT_FIELD in fields,
        not IDENTITY_FIELDS.isdisjoint(fields),
        not NAME_FIELDS.isdisjoint(fields),
        any(rule.dns is not None for rule in in_force),
        not CGROUP_FIELDS.isdisjoint(fields),
        not _OF_ONE_FLOW.isdisjoint(fields),
        not all(map(is_repeatable, every)),
        tuple(rule for rule in rules if bypasses_of(rule.conditions)),
    )


def _layer(rules: Sequence[Rule]) -> Layer:
    traits = traits_of(rules)
    if len(rules) < FEWEST_RULES:
        return Layer(rules, traits, None, None, None)
    # What makes and reads an index takes memory, and most have few rules.
    from nfsnitch.core.rule_index import RuleIndex  # noqa: PLC0415
    from nfsnitch.core.rule_keys import (  # noqa: PLC0415
        OF_ONE_FLOW,
        OF_SOME_DESTINATION,
        OF_THE_FLOW,
    )

    of_questions = RuleIndex(rules, OF_THE_FLOW) if traits.refuses_questions else None
    of_flows = of_programs = RuleIndex(rules)
    if traits.tells_flows_apart:
        of_programs = RuleIndex(rules, OF_ONE_FLOW)
    few = len(rules) <= _MOST_BY_SENDER
    of_senders = RuleIndex(rules, OF_SOME_DESTINATION) if few else None
    return Layer(rules, traits, of_flows, of_questions, of_programs, of_senders)


_NO_RULES = _layer(())


@dataclass(frozen=True, slots=True)
class Ruleset:
    """All rules in force, in order, and what holds where none of them matches."""

    rules: Sequence[Rule] = ()
    default: Action = Action.ASK
    """For flows whose owner is known and which no rule matches."""
    unattributed: Action = Action.DENY
    """For flows whose owner is not known and which no rule matches."""
    unanswered: Action = Action.DENY
    """What becomes of a held flow that nobody answers; never `Action.ASK`."""
    ask_timeout_ns: int = 30_000_000_000
    """How long a flow is held for an answer."""
    settings: Settings = field(default_factory=Settings)
    lists: tuple[NamedList, ...] = ()
    """All that rules may name, in the order of the files."""
    answers: tuple[Rule, ...] = ()
    """Rules that people's answers have made: they decide where all the rest says `Action.ASK`."""
    of_rules: Layer = field(default=_NO_RULES, repr=False, compare=False)
    """Of `rules` alone, or of others that this has been made from."""
    _of_answers: Layer = field(default=_NO_RULES, repr=False, compare=False)
    _of_all: Traits = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Look once through the rules for what has to be known of them all."""
        # `replace` hands on what was known of other rules, too.
        for name, rules in (("of_rules", self.rules), ("_of_answers", self.answers)):
            if getattr(self, name).rules is not rules:
                object.__setattr__(self, name, _layer(rules))
        object.__setattr__(self, "_of_all", self.of_rules.traits + self._of_answers.traits)

    def with_answers(self, answers: tuple[Rule, ...]) -> Ruleset:
        """Return the same rules with these answers; the rules are not looked through again."""
        return replace(self, answers=answers)

    @property
    def asks_script(self) -> bool:
        """Whether a rule wants to know which script an interpreter runs."""
        return self._of_all.asks_script

    @property
    def asks_identity(self) -> bool:
        """Whether a rule wants to know which binary a program is."""
        return self._of_all.asks_identity

    @property
    def asks_names(self) -> bool:
        """Whether a rule wants to know the name of the host."""
        return self._of_all.asks_names

    @property
    def asks_cgroup(self) -> bool:
        """Whether a rule wants to know something of a program's cgroup."""
        return self._of_all.asks_cgroup

    @property
    def says_the_same_again(self) -> bool:
        """Whether it does of flows that differ in their own port alone, whenever they come."""
        return not self._of_all.varies

    @property
    def reads_first_data(self) -> bool:
        """Whether a flow's first data is to be read where a rule lacks the name."""
        return self.asks_names and self.settings.names.first_data

    @property
    def refuses_questions(self) -> bool:
        """Whether a rule refuses the questions of DNS for certain names."""
        return self._of_all.refuses_questions

    @property
    def on_openings(self) -> tuple[Rule, ...]:
        """The rules on sockets past netfilter, in order."""
        return self.of_rules.traits.on_openings

    @property
    def seeing(self) -> Seeing:
        """Which packets must be judged besides the first ones of each flow."""
        return Seeing(self.reads_first_data, self.refuses_questions)

    def next_change_ns(self, now: Instant) -> int | None:
        """Return the next moment at which the rules may say something else by themselves.

        That is when an hour of a schedule begins or ends or a rule expires, in ns of the wall clock
        since 1970 UTC; it lies after *now*. None: never. It is only *may*: the rules need not say
        anything else then, and after it one has to ask again. If the clock is set, too.
        """
        changes = (each.next_change_ns(now) for each in self._of_all.timed)
        return min((each for each in changes if each is not None), default=None)

    def rule_on(self, case: Case) -> Ruling:
        """Return what the first matching rule, or else the default, says; of `answers`, too.

        A rule that depends on which binary a program is, while that is not known, decides as well:
        `Action.ASK` while it is pending (nobody is asked: it is waited for), else `Action.DENY`,
        both with `Reason.UNIDENTIFIED`. To go on to the next rule might let out what this one
        was to refuse.

        A rule that depends on a name that cannot be told says itself what then
        (`Rule.on_unknown_name`). Where the name may come with the flow's first data, and that would
        make a difference, it is `Action.ASK` with `Reason.NAME_AWAITED`.
        """
        awaiting: list[Ruling] = []
        ruling = self._first(self.of_rules, case, awaiting) or self.fallback(case.owner)
        is_asked = ruling.action is Action.ASK and ruling.reason is not Reason.UNIDENTIFIED
        if is_asked and self.answers:
            ruling = self._first(self._of_answers, case, awaiting) or ruling
        if not awaiting:
            return ruling
        makes_difference = (each for each in awaiting if each.action is not ruling.action)
        first = next(makes_difference, None)
        return ruling if first is None else first._replace(action=Action.ASK)

    def rule_on_question(self, case: Case) -> Rule | None:
        """Return the rule that refuses to have a name asked for; None: it may be asked for.

        *case* is the question's own, with the name in question as its only name. Of what a rule
        says of the flow that will follow nothing is known: one that might allow that lets the
        question pass.
        """
        index = self.of_rules.of_questions
        for rule in self.rules if index is None else index.candidates(case):
            conditions = [each for each in rule.conditions if each.field not in FLOW_FIELDS]
            if not all(each.matches(case) for each in conditions):
                continue
            if rule.dns is not None:
                return rule
            if rule.action in {Action.ALLOW, Action.ASK} or len(conditions) == len(rule.conditions):
                return None
        return None

    def _first(self, layer: Layer, case: Case, awaiting: list[Ruling]) -> Ruling | None:
        """Return what the first rule of *layer* says that decides.

        Those for which the name has to come first, if it may still come, are passed by. What they
        may say then goes to *awaiting*.
        """
        rules = layer.candidates(case)
        is_program = self.asks_identity and isinstance(case.owner, Process)
        if is_program or self.asks_names:
            return _first_by_what_is_known(rules, case, awaiting)
        for rule in rules:
            for condition in rule.conditions:
                if not condition.matches(case):
                    break
            else:
                return Ruling(rule.action, Reason.RULE, rule.name)
        return None

    def of_program(self, case: Case) -> Iterable[Rule] | None:
        """Return in their order all rules but some that pass by whatever this program sends there.

        Those that it passes by only for what another flow of the same program to the same
        destination may have otherwise are among them. The answers are not. None: they are too many
        to be looked at one by one.
        """
        return self.of_rules.for_program(case)

    def of_sender(self, case: Case) -> Iterable[Rule] | None:
        """Return in their order all rules but some that pass by whatever this program sends.

        Those that it passes by only for the destination are among them. The answers are not. None:
        nobody can say without going through all of them.
        """
        return self.of_rules.for_sender(case)

    def fallback(self, owner: Owner) -> Ruling:
        """Return what holds for *owner* where no rule matches."""
        if isinstance(owner, Unknown):
            return Ruling(self.unattributed, Reason.UNATTRIBUTED, None)
        return Ruling(self.default, Reason.DEFAULT, None)

    def mismatches(self, case: Case) -> Iterator[tuple[Rule, str | None]]:
        """Yield each rule with its first mismatching field, up to the one that decides.

        That is one that matches (None), or one that depends on what is not known of the program
        or of the host's name, and decides all the same. Where it says `Action.ASK`, or none decides
        and the fallback does, the answers come next.
        """
        asks = self.fallback(case.owner).action is Action.ASK
        for rule, mismatch in _mismatches(self.rules, case):
            yield rule, mismatch
            ruling = _ruling(rule, mismatch, case)
            if ruling is not None:
                asks = ruling.action is Action.ASK and ruling.reason is not Reason.UNIDENTIFIED
        if asks:
            yield from _mismatches(self.answers, case)


def _mismatches(rules: Sequence[Rule], case: Case) -> Iterator[tuple[Rule, str | None]]:
    for rule in rules:
        mismatch = rule.first_mismatch(case)
        yield rule, mismatch
        if _ruling(rule, mismatch, case) is not None:
            return


def _first_by_what_is_known(
    rules: Iterable[Rule], case: Case, awaiting: list[Ruling]
) -> Ruling | None:
    for rule in rules:
        mismatch = rule.first_mismatch(case)
        if mismatch in NAME_FIELDS and case.names.may_come and rule.lacks_name(case):
            actions = (rule.action, rule.on_unknown_name)
            awaiting += [_awaited(each, rule) for each in actions if each is not None]
            continue
        ruling = _ruling(rule, mismatch, case)
        if ruling is not None:
            return ruling
    return None


def _ruling(rule: Rule, mismatch: str | None, case: Case) -> Ruling | None:
    """Return what *rule* says, whose first mismatch that is; None: the next one is asked."""
    if mismatch is None:
        return Ruling(rule.action, Reason.RULE, rule.name, rule.entry(case))
    lacking = rule.lacks(case) if mismatch in _MAY_LACK else None
    if lacking is not None:
        action = Action.ASK if isinstance(lacking, Pending) else Action.DENY
        return Ruling(action, Reason.UNIDENTIFIED, rule.name)
    if mismatch not in NAME_FIELDS or rule.on_unknown_name is None:
        return None  # another field does not match, whatever the name is
    if rule.lacks_name(case):
        return Ruling(rule.on_unknown_name, Reason.UNNAMED, rule.name)
    return None


def _awaited(action: Action, rule: Rule) -> Ruling:
    return Ruling(action, Reason.NAME_AWAITED, rule.name)
