"""What lets more out than its author may think of."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from nfsnitch.adapters.rulefile.fields import RULE_FIELDS, Subject
from nfsnitch.adapters.rulefile.outline import Outline, PlacedRule
from nfsnitch.adapters.rulefile.problems import RuleWarning, listed, quoted
from nfsnitch.core.conditions import OwnerCondition, OwnerKind, ValueCondition, bypasses_of
from nfsnitch.core.decision import Action
from nfsnitch.core.pattern import Paths

_ALLOWING_SETTINGS = {
    "default": "whatever no rule matches goes out",
    "unattributed": "what nobody can tell the owner of goes out",
    "unanswered": "what nobody answered goes out: it is enough to wait",
}
_CHOSEN_BY_PROCESS = ("comm", "args")
"""Fields whose value a process sets as it likes."""
_NO_NAMES = ("changed",)
"""Fields of a process that do not say which program it is."""
_SCRIPT_FIELDS = ("script", "args")
_DESTINATION = "daddr"
_INTERPRETER = re.compile(
    r"(?:ba|da|z|k|mk|c|tc|a|fi)?sh|busybox|python[0-9.]*|pypy[0-9.]*|perl[0-9.]*|ruby[0-9.]*"
    r"|node|nodejs|deno|bun|php[0-9.]*|lua[0-9.]*|luajit|java|guile|tclsh[0-9.]*|Rscript|pwsh|env",
    re.ASCII,
)
_COMMON_INTERPRETERS = tuple(
    f"{directory}/{name}"
    for directory in ("/usr/bin", "/bin", "/usr/local/bin")
    for name in (
        "sh",
        "bash",
        "dash",
        "python3",
        "python3.11",
        "python3.13",
        "perl",
        "ruby",
        "node",
    )
)


def setting_warnings(outline: Outline) -> Iterator[RuleWarning]:
    """Yield a warning of each setting that lets out what no rule allows."""
    for name, value in outline.settings:
        if name in _ALLOWING_SETTINGS and value.text == Action.ALLOW:
            what = f"{name} {quoted(value.text)}"
            why = _ALLOWING_SETTINGS[name]
            instead = "write deny, or ask where somebody answers"
            yield RuleWarning(value.position, "allows-the-rest", what, why, instead)


def width_warnings(rules: Sequence[PlacedRule]) -> Iterator[RuleWarning]:
    """Yield warnings of the rules that allow much."""
    for each in rules:
        if each.rule.action is Action.ALLOW:
            yield from _of_allowing(each)


def _of_allowing(placed: PlacedRule) -> Iterator[RuleWarning]:
    owner_fields = [name for name in _process_fields() if placed.positive(name)]
    exe = _positive_exe(placed)
    if exe is not None and {"**", "/**"} & set(exe.globs):
        owner_fields.remove("exe")
    if not owner_fields:
        if bypasses_of(placed.rule.conditions):
            why = "it names no program whose sockets past netfilter it allows"
            yield placed.warning("too-wide", why, "add exe:")
        elif not placed.positive(_DESTINATION) and not _is_kernel_only(placed):
            why = "it names neither whose connections it allows nor where to"
            yield placed.warning("too-wide", why, "add exe: or daddr:")
    elif set(owner_fields) <= set(_CHOSEN_BY_PROCESS):
        names = listed(f"{name}:" for name in owner_fields)
        why = f"it tells programs by {names} alone, which any program may set as it likes"
        yield placed.warning("chosen-by-program", why, "add exe:")
    elif exe is not None and not any(map(placed.positive, _SCRIPT_FIELDS)):
        interpreter = _interpreter_in(exe)
        if interpreter is not None:
            position = placed.written.fields["exe"].position
            what = f"rule {quoted(placed.rule.name)}"
            why = f"{quoted(interpreter)} runs whatever it is given, and all of that is allowed"
            instead = f"add {listed(f'{n}:' for n in _SCRIPT_FIELDS if n in RULE_FIELDS)}"
            yield RuleWarning(position, "any-script", what, why, instead)


def _process_fields() -> list[str]:
    fields = RULE_FIELDS.items()
    return [n for n, each in fields if each.subject is Subject.PROCESS and n not in _NO_NAMES]


def _positive_exe(placed: PlacedRule) -> Paths | None:
    for each in placed.rule.conditions:
        if each.field == "exe" and isinstance(each, ValueCondition) and not each.negated:
            return each.wanted if isinstance(each.wanted, Paths) else None
    return None


def _is_kernel_only(placed: PlacedRule) -> bool:
    return any(
        isinstance(each, OwnerCondition)
        and not each.negated
        and OwnerKind.UNKNOWN not in each.wanted
        for each in placed.rule.conditions
    )


def _interpreter_in(exe: Paths) -> str | None:
    for path in sorted(exe.exact):
        if _INTERPRETER.fullmatch(path.rpartition("/")[2]) is not None:
            return path
    return next((path for path in _COMMON_INTERPRETERS if path in exe), None)
