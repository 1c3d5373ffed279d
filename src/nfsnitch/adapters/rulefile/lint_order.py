"""Rules that never decide anything: shadowed, empty or run out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import combinations

from nfsnitch.adapters.rulefile.outline import PlacedRule
from nfsnitch.adapters.rulefile.problems import RuleWarning, quoted
from nfsnitch.core.conditions import ValueCondition, bypasses_of
from nfsnitch.core.covering import all_cover, never_both, never_holds
from nfsnitch.core.pattern import Paths

MAX_COMPARISONS = 1_000_000
"""Of two rules each. Rules that name programs by their paths are compared only where these meet, so
that it takes thousands of others to reach this."""

_SAY_NOTHING = frozenset({"name", "action", "note", "enabled", "on_unknown_name", "dns"})
"""Keys of a rule that no condition comes of."""
_EXE = "exe"
_NS_PER_S = 10**9


def order_warnings(rules: Sequence[PlacedRule], now_ns: int) -> Iterator[RuleWarning]:
    """Yield a warning of each rule that can never decide."""
    in_force: list[PlacedRule] = []
    for each in rules:
        idle = _run_out(each, now_ns) or _empty(each)
        if idle is not None:
            yield idle
        else:
            in_force.append(each)
    # Those on openings are asked by themselves.
    for openings in (False, True):
        yield from _shadowed([each for each in in_force if _is_on_openings(each) is openings])


def _is_on_openings(placed: PlacedRule) -> bool:
    return bool(bypasses_of(placed.rule.conditions))


def _run_out(placed: PlacedRule, now_ns: int) -> RuleWarning | None:
    expires_ns = placed.rule.expires_ns
    if expires_ns is not None and expires_ns <= now_ns:
        ended = datetime.fromtimestamp(expires_ns // _NS_PER_S, UTC)
        why = f"it expired at {ended:%Y-%m-%dT%H:%M:%SZ} and matches nothing"
        return placed.warning("expired", why, "write a later date or remove the rule")
    return None


def _empty(placed: PlacedRule) -> RuleWarning | None:
    conditions = placed.rule.conditions
    for each in conditions:
        if never_holds(each):
            why = f"its {each.field}: not: leaves nothing out, and so it matches nothing"
            return placed.warning("never-matches", why, f"remove {each.field} or name less")
    for one, other in combinations(conditions, 2):
        if never_both(one, other) and not _wants_nothing(one) and not _wants_nothing(other):
            why = f"nothing is matched both by its {one.field} and by its {other.field}"
            return placed.warning("never-matches", why, "remove one of the two")
    return None


def _wants_nothing(condition: object) -> bool:
    """Whether it names only what this machine does not have: of that there is a warning."""
    return isinstance(condition, ValueCondition) and condition.wanted == frozenset()


def _shadowed(rules: Sequence[PlacedRule]) -> Iterator[RuleWarning]:
    """Yield a warning of each rule all of whose cases an earlier one decides."""
    earlier = _Earlier()
    left = MAX_COMPARISONS
    for each in rules:
        for candidate in earlier.candidates(each):
            left -= 1
            if _does_more(each):
                continue
            if all_cover(candidate.rule.conditions, each.rule.conditions):
                yield _shadow(each, candidate)
                break
        else:
            earlier.add(each)
        if left < 0:
            why = f"comparing them took more than {MAX_COMPARISONS} steps"
            yield each.warning(
                "not-compared", f"{why}; from here on no shadowed rule is found", "use fewer rules"
            )
            return


def _does_more(placed: PlacedRule) -> bool:
    """Whether a rule has a say in what it does not match, or in questions for names."""
    return placed.rule.on_unknown_name is not None or placed.rule.dns is not None


def _shadow(placed: PlacedRule, by: PlacedRule) -> RuleWarning:
    earlier = f"rule {quoted(by.rule.name)} before it ({by.written.position})"
    if not by.rule.conditions:
        why = f"{earlier} has no fields and decides everything"
        return placed.warning("after-catch-all", why, "move it up or remove it")
    why = f"{earlier} decides all that it matches"
    return placed.warning("shadowed", why, "move it up or remove it")


class _Earlier:
    """Rules so far that can shadow others, by the programs that they name."""

    def __init__(self) -> None:
        self._any_program: list[PlacedRule] = []
        self._by_path: dict[str, list[PlacedRule]] = {}

    def add(self, placed: PlacedRule) -> None:
        """Take one more rule, unless something in it has no condition to compare."""
        if not _is_all_conditions(placed):
            return
        paths = _exact_paths(placed)
        if paths is None:
            self._any_program.append(placed)
        for path in paths or ():
            self._by_path.setdefault(path, []).append(placed)

    def candidates(self, placed: PlacedRule) -> Iterator[PlacedRule]:
        """Yield those that may shadow *placed*: of the others it is known that they do not."""
        yield from self._any_program
        # What names a program exactly is shadowed only by what names that program, too.
        for path in sorted(_exact_paths(placed) or ())[:1]:
            yield from self._by_path.get(path, ())


def _is_all_conditions(placed: PlacedRule) -> bool:
    fields = set(placed.written.fields) - _SAY_NOTHING
    return fields <= {condition.field for condition in placed.rule.conditions}


def _exact_paths(placed: PlacedRule) -> frozenset[str] | None:
    """Return the programs that the rule names; None where they are not known one by one."""
    for each in placed.rule.conditions:
        if each.field == _EXE and isinstance(each, ValueCondition) and not each.negated:
            wanted = each.wanted
            return wanted.exact if isinstance(wanted, Paths) and not wanted.globs else None
    return None
