"""What a question, a record or a connection says of who and where, as labelled lines.

The daemon says what is not known as ``{"unknown": reason}``; keys that it cannot fill it leaves
away. Nothing here trusts a value to be of the type that it should have.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nfsnitch.protocol import Asked
from nfsnitch_ui.i18n import _, counted
from nfsnitch_ui.text import middle, shown

Json = dict[str, Any]

_MOST_ARGUMENTS = 200
_MOST_PARENTS = 12
_WHOLE_LIMIT = 20_000
"""Characters of one value where all is shown."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One line: what it is, and how it is."""

    label: str
    text: str
    is_known: bool = True
    is_loud: bool = False
    """Something to stop at."""
    whole: str | None = None
    """The same without abridgement, where it is abridged."""


def known(value: object) -> str | None:
    """Return *value* as text, escaped; None if it is not known or not there."""
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return None


def why_unknown(value: object) -> str:
    """Return why *value* is not known."""
    if isinstance(value, dict) and isinstance(value.get("unknown"), str):
        return shown(value["unknown"])
    return _("not known")


def part(value: object) -> Json:
    """Return *value* if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def owner_of(row: Json) -> Json:
    """Return the owner in *row*, where it may stand by itself or among the rest."""
    owner = row.get("owner")
    return owner if isinstance(owner, dict) else row


def flow_of(row: Json) -> Json:
    """Return the flow in *row*, where it may stand by itself or among the rest."""
    flow = row.get("flow")
    return flow if isinstance(flow, dict) else row


def program_name(owner: Json) -> str:
    """Return what people call the program: by its desktop entry, else by its file."""
    kind = owner.get("owner")
    if kind == "kernel":
        return _("The kernel")
    if kind == "forwarded":
        return _("Another machine")
    name = known(part(owner.get("desktop")).get("name"))
    script, path = known(owner.get("script")), known(owner.get("exe"))
    if name:
        return middle(name, 60)
    for each in (script, path):
        if each is not None:
            return middle(each.rstrip("/").rpartition("/")[2] or each, 60)
    command = known(owner.get("comm"))
    return middle(command, 60) if command else _("An unknown program")


def program_path(owner: Json) -> Fact:
    """Return the path of the program's file."""
    label = _("Program")
    path = known(owner.get("exe"))
    if path is None:
        return Fact(label, why_unknown(owner.get("exe")), is_known=False)
    if owner.get("exe_deleted") is True:
        return Fact(label, _("{path} (deleted since)").format(path=path), is_loud=True)
    return Fact(label, path)


def user_name(owner: Json) -> str | None:
    """Return the user with the number, as far as both are known."""
    name, uid = known(owner.get("user")), known(owner.get("uid"))
    if name and uid:
        return f"{name} ({uid})"
    return name or uid


def arguments(owner: Json) -> Fact:
    """Return the command line, quoted as a shell would take it."""
    label, args = _("Arguments"), owner.get("args")
    if not isinstance(args, list):
        return Fact(label, why_unknown(args), is_known=False)
    texts = [each for each in args if isinstance(each, str)]
    if not texts:
        return Fact(label, _("none"), is_known=False)
    brief = " ".join(map(_quoted, texts[:_MOST_ARGUMENTS]))
    left_out = len(texts) - _MOST_ARGUMENTS
    more = counted(" … and {n} more", " … and {n} more", left_out) if left_out > 0 else ""
    whole = "\n".join(shown(each, _WHOLE_LIMIT) for each in texts[: _MOST_ARGUMENTS * 5])
    return Fact(label, middle(brief, 2_000) + more, whole=middle(whole, 60_000))


def parents(owner: Json) -> Fact:
    """Return who started it, and who started that one."""
    label, chain = _("Started by"), owner.get("parents")
    if not isinstance(chain, list):
        return Fact(label, why_unknown(chain), is_known=False)
    if not chain:
        return Fact(label, _("not known"), is_known=False)
    paths = [known(part(each).get("exe")) for each in chain[:_MOST_PARENTS]]
    names = [path.rpartition("/")[2] if path else "?" for path in paths]
    whole = "\n".join(
        f"{path or why_unknown(part(each).get('exe'))} [{known(part(each).get('pid')) or '?'}]"
        for path, each in zip(paths, chain, strict=False)
    )
    return Fact(label, " ← ".join(names), whole=whole)


def identity(owner: Json) -> Iterator[Fact]:
    """Say which binary it is: its package and its sum."""
    if "package" in owner:
        package = known(owner["package"])
        if package == "none":
            yield Fact(_("Package"), _("belongs to no package"), is_loud=True)
        elif package:
            yield Fact(_("Package"), package)
        else:
            yield Fact(_("Package"), why_unknown(owner["package"]), is_known=False)
    if "sha256" in owner:
        digest = known(owner["sha256"])
        text = digest or why_unknown(owner["sha256"])
        yield Fact(_("SHA-256"), text, is_known=digest is not None)


def change(owner: Json) -> str | None:
    """Return a warning if the program is another file than the one let out before."""
    if owner.get("changed") is not True:
        return None
    if owner.get("package_updated") is True:
        return _("This program's file has changed; its package has been updated meanwhile.")
    return _(
        "This program's file is not the one that was let out before, "
        "and no update of its package explains it."
    )


def place(owner: Json) -> Iterator[Fact]:
    """Say where it runs: app, pod, unit; the script that an interpreter runs."""
    for key, label in (
        ("script", _("Script")),
        ("appimage", _("AppImage")),
        ("app", _("App")),
        ("pod", _("Pod")),
        ("unit", _("Unit")),
    ):
        value = known(owner.get(key))
        if value:
            yield Fact(label, value)


def owner_facts(owner: Json) -> list[Fact]:
    """Return all that is known of who sends."""
    if owner.get("owner") in {"kernel", "forwarded", "unknown"}:
        return [Fact(_("Owner"), why_unknown(owner.get("exe")), is_known=False)]
    facts = [program_path(owner), arguments(owner), parents(owner)]
    user = user_name(owner)
    facts.append(Fact(_("User"), user or why_unknown(owner.get("uid")), is_known=user is not None))
    return [*facts, *place(owner), *identity(owner)]


def rivals(asked: Asked) -> Iterator[Fact]:
    """Name the others who may have sent it instead."""
    if asked.rivals:
        names = ", ".join(program_name(each) for each in asked.rivals[:5])
        yield Fact(_("Or else"), names, is_loud=True)


def full_text(row: Json) -> str:
    """Return everything in *row*, one line for each value."""
    lines: list[str] = []
    for key, value in row.items():
        lines.extend(_lines_of(shown(str(key)), value))
    return "\n".join(lines)


def asked_row(asked: Asked) -> Json:
    """Return what a question says in full, for `full_text`."""
    return {
        **asked.owner,
        **asked.flow,
        "iface": asked.iface,
        "attribution": asked.attribution,
        "reason": asked.reason,
        "rule": asked.rule,
        "since": asked.since,
        "flows": asked.flows,
        "question": asked.number,
        **({"rivals": list(asked.rivals)} if asked.rivals else {}),
    }


def _lines_of(key: str, value: object) -> Iterator[str]:
    if isinstance(value, dict) and set(value) == {"unknown"}:
        yield f"{key}: ({why_unknown(value)})"
    elif isinstance(value, str):
        yield f"{key}: {shown(value, _WHOLE_LIMIT)}"
    elif isinstance(value, list) and value:
        yield f"{key}:"
        for each in value[:_MOST_ARGUMENTS]:
            text = each if isinstance(each, str) else json.dumps(each)
            yield f"    {shown(text, _WHOLE_LIMIT)}"
    else:
        yield f"{key}: {shown(json.dumps(value), _WHOLE_LIMIT)}"


def _quoted(argument: str) -> str:
    """Return *argument* as a shell would take it; quoted first, since escapes need none."""
    return shown(shlex.quote(middle(argument, 300)))
