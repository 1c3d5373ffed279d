"""Messages that mean no good: for a daemon that is to refuse, or answer, and change nothing.

What a client without the right to answer says may make as much sense as it likes. What one with
that right says makes none, whatever single bytes of it are changed.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from nfsnitch.protocol import REQUESTS, Mode, Right, RuleKind, Say, Where, Who

KEPT_RULE = "kept"
"""A lasting rule that is there, and is to stay."""
HELD = 20
"""Questions that are asked have numbers up to this one."""

Fields = dict[str, Any]

_DURATIONS = ("once", "process", "restart", "forever", "until 2040-01-01T00:00", "15m", "8h")
_GOOD_RULE = "name: everything\naction: allow\n"
_BAD_RULES = (
    "name: mine\nactoin: allow\nwho: me\nwhen: soon\n",
    "name: ask again\naction: ask\nwho: me\nwhen: soon\n",
    "- {name: one, act: allow, to: all}\n- {name: two, act: allow, to: all}\n",
    "default: allow\nunanswered: allow\nrules: [all]\n",
    "&a [*a, *a, *b]\n",
    "!!python/object/apply:os.system ['true']\n",
    "name: [\n{{{{",
    "args: '(a*)*'\nname: slow\ndports: 1-65535\nwhen: now\n",
)
_NONSENSE = (
    "",
    "permit it all",
    "no such thing",
    "\x00\x1b[2J\x07",
    "\u202egnp.exe",
    "\ud800\udfff",
    "../../../etc/passwd",
    "'; DROP TABLE rules; --",
    "%s%n{0}${HOME}`id`",
    "%" * 40,
    "\U0001f525" * 9,
    "a" * 300,
)
_NUMBERS = (0, 1, 2, 7, HELD, 10**6, (1 << 31) - 1, 1 << 32, (1 << 63) - 1, (1 << 64) - 1)
_STRANGERS: tuple[object, ...] = (
    None,
    True,
    False,
    -1,
    1.5,
    -0.0,
    "1",
    "",
    [],
    {},
    [[]],
    {"v": 1},
    1 << 64,
    10**300,
)
_ACTIONS = (Say.ALLOW.value, Say.DENY.value, Say.REJECT.value)
_MODES = (*Mode, *_NONSENSE[:2])
_KINDS = (*RuleKind, *_NONSENSE[:2])
_HARMLESS = (
    *("status", "questions", "watch", "history", "connections", "check-rule", "check-rule"),
    *("owners",) * 40,
    *("silenced",) * 60,
    *("rules",) * 60,
    *("preview",) * 20,
)
"""What a client with the right to watch may have, the dear ones seldom."""
_REFUSED = tuple(name for name, kind in REQUESTS.items() if kind.right is not Right.WATCH)


class Messages:
    """An endless supply; the same for the same seed."""

    def __init__(self, seed: int, *, may_answer: bool) -> None:
        """Make what a client says; *may_answer*: it has the right to."""
        self._chance = random.Random(seed)  # noqa: S311  the same each time
        self._may_answer = may_answer
        self._risky: tuple[Callable[[], bytes], ...] = (
            *(self._mutated,) * 4,
            *(self._of_wrong_types,) * 3,
            *(self._bytes, self._nested, self._with_huge_number, self._of_other_version),
            *(self._shortened, self._nearly_too_long),
        )

    def batch(self, most: int) -> bytes:
        """Return some that leave the connection open, and one that most likely does not."""
        lines = [self.sound() for _ in range(self._chance.randrange(most))]
        return b"".join((*lines, self.risky()))

    def sound(self) -> bytes:
        """Return a request that can be read."""
        if self._chance.random() < 0.05:
            return _line({"v": 1, "type": self._nonsense(), **self._extras()})
        fields = self._request()
        if self._chance.random() < 0.05:
            fields |= self._extras()
        return _line(fields)

    def risky(self) -> bytes:
        """Return what most likely cannot be read."""
        return self._chance.choice(self._risky)()

    def _request(self) -> Fields:
        dice = self._chance.random()
        if dice < 0.4:
            name = self._chance.choice(_HARMLESS)
        elif not self._may_answer:
            name = self._chance.choice(_REFUSED)
        elif dice < 0.41:
            name = self._chance.choice(("reload", "stop"))
        elif dice < 0.45:
            return self._pointless()
        else:
            return self._hopeless()
        return {"v": 1, "type": name, **self._values_of(name)}

    def _values_of(self, name: str) -> Fields:
        """Return values that make sense, some of them."""
        word, number = self._chance.choice, self._number
        makers: dict[str, Callable[[], Fields]] = {
            "answer": lambda: (
                {"questions": self._asked(), "rule": self._rule_or_none()} | self._scope()
            ),
            "preview": lambda: {"question": word([*range(1, HELD + 1), number()])} | self._scope(),
            "silenced": lambda: {"first": number()},
            "mode": lambda: {"mode": word(_MODES), "for_s": word([None, 0.5, number()])},
            "rules": lambda: {"kind": word(_KINDS), "first": number()},
            "check-rule": lambda: {"rule": self._rule()},
            "add-rule": lambda: {"rule": self._rule(), "duration": word(_DURATIONS)},
            "change-rule": lambda: {"name": KEPT_RULE, "rule": self._rule()},
            "move-rule": lambda: {"name": KEPT_RULE, "to": number()},
            "revoke": lambda: {"name": KEPT_RULE},
            "history": lambda: {"before": word([None, number()])},
        }
        return makers[name]() if name in makers else {}

    def _scope(self) -> Fields:
        word, nonsense = self._chance.choice, self._nonsense()
        return {
            "action": word([*Say, nonsense]),
            "who": word([*Who, nonsense]),
            "where": word([*Where, nonsense]),
            "duration": word([*_DURATIONS, nonsense]),
        }

    def _hopeless(self) -> Fields:
        """Return what cannot come to mean anything by changing a few bytes."""
        word = self._chance.choice
        if self._chance.random() < 0.6:
            return self._hopeless_answer()
        fields: Fields = word(
            (
                *({"type": "mode", "mode": "quiet, please", "for_s": 5.0},) * 9,
                *({"type": "revoke", "name": "no such rule"},) * 3,
                *({"type": "add-rule", "rule": word(_BAD_RULES), "duration": "for some time"},) * 3,
                {"type": "change-rule", "name": "no such rule", "rule": word(_BAD_RULES)},
                {"type": "move-rule", "name": "no such rule", "to": self._number()},
            )
        )
        return {"v": 1, **fields}

    def _hopeless_answer(self) -> Fields:
        word = self._chance.choice
        answer = self._answer(self._asked(), word(_ACTIONS), word(_DURATIONS))
        lasting, never = word(("restart", "forever", "15m")), "for a little while"
        wrong: Fields = word(
            (
                *({"action": "permit it all"},) * 4,
                *({"duration": never},) * 4,
                *({"duration": never, "rule": word(_BAD_RULES)},) * 4,
                {"duration": lasting, "who": "everybody at all"},
                {"duration": lasting, "where": "wherever it likes"},
            )
        )
        return answer | wrong

    def _pointless(self) -> Fields:
        """Return what can be read and changes nothing, as it is."""
        word = self._chance.choice
        number = self._chance.randrange(1, HELD + 1)
        unknown = self._chance.sample(range(10**6, 10**9), self._chance.randrange(1, 9))
        answer = self._answer(unknown, word(list(Say)), word(_DURATIONS))
        fields: Fields = word(
            (
                answer,
                answer | {"questions": []},
                answer | {"questions": [number, number]},
                answer | {"questions": [number, 10**6], "rule": _GOOD_RULE},
                answer | {"questions": [number], "action": "allow", "rule": word(_BAD_RULES)},
                {"type": "mode", "mode": word(list(Mode)), "for_s": word([0, 86_401, 1e18])},
                {"type": "add-rule", "rule": word(_BAD_RULES), "duration": "forever"},
                {"type": "add-rule", "rule": _GOOD_RULE, "duration": word(_DURATIONS[:2])},
                {"type": "change-rule", "name": KEPT_RULE, "rule": word(_BAD_RULES)},
                {"type": "move-rule", "name": KEPT_RULE, "to": word(_NUMBERS[1:])},
                {"type": "revoke", "name": word(_NONSENSE)},
            )
        )
        return {"v": 1, **fields}

    def _answer(self, questions: list[int], action: str, duration: str) -> Fields:
        what = {"v": 1, "type": "answer", "questions": questions, "action": action}
        return {**what, "who": "program", "where": "anywhere", "duration": duration, "rule": None}

    def _harmless_base(self) -> Fields:
        if self._may_answer:
            return self._hopeless()
        name = self._chance.choice(list(REQUESTS))
        return {"v": 1, "type": name, **self._values_of(name)}

    def _mutated(self) -> bytes:
        raw = bytearray(_line(self._harmless_base())[:-1])
        for _ in range(self._chance.randrange(1, 4)):
            at = self._chance.randrange(len(raw))
            byte = self._chance.choice(b'\x00"\\{}[],:019eE.-+ \xff\xc3\n\rtfn')
            if self._chance.random() < 0.4:
                raw[at] = byte
            elif self._chance.random() < 0.5:
                raw.insert(at, byte)
            else:
                del raw[at]
        return bytes(raw) + b"\n"

    def _of_wrong_types(self) -> bytes:
        fields = self._harmless_base()
        fields[self._chance.choice(list(fields))] = self._chance.choice(_STRANGERS)
        return _line(fields)

    def _shortened(self) -> bytes:
        raw = _line(self._harmless_base())
        return raw[: self._chance.randrange(len(raw) - 1)] + b"\n"

    def _bytes(self) -> bytes:
        return self._chance.randbytes(self._chance.randrange(1, 400)) + b"\n"

    def _nested(self) -> bytes:
        depth = self._chance.choice((10, 500, 4_000))
        opened, closed = self._chance.choice(((b"[", b"]"), (b'{"v":', b"}"), (b'[{"v":[', b"]}]")))
        inner = closed * depth if self._chance.random() < 0.5 else b""
        return (b'{"v":1,"type":"status","x":' + opened * depth + b"1" + inner)[:16_000] + b"\n"

    def _with_huge_number(self) -> bytes:
        number = self._chance.choice((b"9" * 4_000, b"9" * 9_000, b"1e999", b"-1e999", b"NaN"))
        return b'{"v":1,"type":"silenced","first":' + number + b"}\n"

    def _of_other_version(self) -> bytes:
        return _line({"v": self._chance.choice((0, 2, 1.0, *_STRANGERS)), "type": "stop"})

    def _nearly_too_long(self) -> bytes:
        return b"x" * self._chance.choice((16_382, 16_383, 16_384, 40_000)) + b"\n"

    def _extras(self) -> Fields:
        """Return keys that nobody knows."""
        return {self._nonsense(): self._chance.choice(_STRANGERS), "deep": [[[[{"a": [[]]}]]]]}

    def _asked(self) -> list[int]:
        return self._chance.sample(range(1, HELD + 1), self._chance.randrange(1, HELD))

    def _rule(self) -> str:
        return self._chance.choice((_GOOD_RULE, *_BAD_RULES))

    def _rule_or_none(self) -> str | None:
        return self._chance.choice((None, self._rule()))

    def _nonsense(self) -> str:
        return self._chance.choice(_NONSENSE)

    def _number(self) -> int:
        return self._chance.choice(_NUMBERS)


def _line(fields: Fields) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode("ascii") + b"\n"
