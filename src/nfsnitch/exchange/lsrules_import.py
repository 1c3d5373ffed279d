"""Little Snitch's rules as ours.

There the more specific of two rules decides, wherever it stands. So the rules are sorted here by
what Little Snitch goes by (`LittleSnitchRule.precedence`), and the first that matches decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from nfsnitch.adapters.rulefile import Names
from nfsnitch.adapters.rulefile.problems import quoted
from nfsnitch.exchange.draft import (
    MAX_RULES,
    FileDraft,
    RuleDraft,
    UniqueNames,
    is_host,
    keep_good,
    note_text,
)
from nfsnitch.exchange.globs import escaped
from nfsnitch.exchange.json_text import NotReadableError
from nfsnitch.exchange.lsrules_rules import (
    ANNOTATIONS,
    ANY,
    DENIED,
    DENIED_NOTES,
    LittleSnitchRule,
    NotARuleError,
    Server,
    denied,
    read_group,
    read_rule,
    written_address,
)
from nfsnitch.exchange.report import ImportFailedError, Report

_MACOS = ("/Applications/", "/System/", "/Library/", "/Users/", "/Volumes/", "/private/")
_MACOS_BUNDLE = ".app/Contents/"
_MAX_NAME = 60
_FIXED: dict[Server, dict[str, tuple[str, ...]]] = {
    Server.ANY: {},
    Server.MULTICAST: {"daddr": ("224.0.0.0/4", "ff00::/8")},
    Server.BROADCAST: {"daddr": ("255.255.255.255",)},
    Server.BONJOUR: {"daddr": ("224.0.0.251", "ff02::fb"), "proto": ("udp",), "dport": ("5353",)},
}
"""What a word for the other end stands for."""
_UNSAYABLE = {
    Server.DNS_SERVERS: "remote dns-servers: write the addresses of your name servers (daddr:)",
    Server.LOCAL_NET: "remote local-net: write the addresses of your networks (daddr:)",
    Server.BPF: "remote bpf: for sockets past netfilter write a rule with proto: packet",
}


class _UnsayableError(ValueError):
    """A rule that ours have no words for; the message says why."""


class _ForeignError(_UnsayableError):
    """A rule that is about nothing that there is here."""


def import_lsrules(file: str, text: str, names: Names, report: Report) -> FileDraft:
    """Return the group of rules in *text* as a rule file; *report* is told what becomes of them.

    Raises:
        ImportFailedError: it cannot be read.

    """
    try:
        group, unknown = read_group(text)
    except NotReadableError as error:
        raise ImportFailedError(f"{quoted(file)}: {error}") from None
    for key in unknown:
        report.left_out(file, None, f"nothing is known of {quoted(key)}")
    importer = _Importer(file, report)
    rules = [*importer.rules(group.get("rules", [])), *importer.denied(group)]
    rules.sort(key=lambda rule: rule.precedence)
    drafts = [made for rule in rules if (made := importer.draft(rule)) is not None]
    title = _title(file, group.get("name"), group.get("description"))
    draft = FileDraft(title, rules=drafts)
    keep_good(draft, names, report)
    return draft


def _title(file: str, name: object, description: object) -> str:
    words = [each for each in (name, description) if isinstance(each, str) and each.strip()]
    about = note_text(", ".join(words)) if words else None
    return f"Imported from Little Snitch's rules in {file}" + (f": {about}" if about else "")


class _Importer:
    def __init__(self, file: str, report: Report) -> None:
        self._file = file
        self._report = report
        self._names = UniqueNames()

    def rules(self, found: object) -> Iterator[LittleSnitchRule]:
        """Yield the rules of the list *found*; the report is told of what is none."""
        if not isinstance(found, list):
            self._report.left_out(self._file, None, "rules is no list")
            return
        dated = False
        for at, each in enumerate(found, 1):
            if at > MAX_RULES:
                self._report.left_out(self._file, None, f"there are more than {MAX_RULES} rules")
                break
            try:
                yield read_rule(each)
            except NotARuleError as error:
                self._report.left_out(self._file, f"number {at}", str(error))
            else:
                dated = dated or bool(ANNOTATIONS & each.keys())
        if dated:
            why = "dates and origins of rules are not kept"
            self._report.changed(self._file, None, why)

    def denied(self, group: object) -> Iterator[LittleSnitchRule]:
        """Yield the rules that the lists of what is denied stand for."""
        if not isinstance(group, dict):
            return
        notes = group.get(DENIED_NOTES)
        for key in DENIED:
            if key not in group:
                continue
            try:
                yield from denied(key, group[key], notes if isinstance(notes, str) else "")
            except NotARuleError as error:
                self._report.left_out(self._file, None, str(error))

    def draft(self, rule: LittleSnitchRule) -> RuleDraft | None:
        """Return *rule* as one of ours; None if it cannot be, which the report is told."""
        name = self._names.name(_name(rule))
        try:
            fields = {**self._of_program(name, rule), **self._of_server(name, rule)}
        except _UnsayableError as error:
            consequence = "" if isinstance(error, _ForeignError) else _consequence(rule)
            self._report.left_out(self._file, name, f"{error}{consequence}")
            return None
        for field, values in (("proto", (rule.protocol,)), ("dport", rule.ports)):
            texts = tuple(value for value in values if value is not None)
            if texts and fields.get(field, texts) != texts:
                why = f"{field} is fixed for {rule.server.name.lower()}, and the rule names another"
                self._report.left_out(self._file, name, why)
                return None
            if texts:
                fields[field] = texts
        note = note_text(rule.notes)
        enabled = not rule.disabled
        return RuleDraft(name, rule.action, fields, note, enabled, self._file)

    def _of_program(self, name: str, rule: LittleSnitchRule) -> dict[str, tuple[str, ...]]:
        if rule.direction == "incoming":
            raise _ForeignError("it is about incoming connections, and all rules here are not")
        if rule.direction != "outgoing":
            why = "incoming connections are nobody's business here"
            self._report.in_part(self._file, name, why)
        if rule.owner != ANY:
            raise _UnsayableError(f"owner {quoted(rule.owner)}: write the user (user:) yourself")
        programs = [each for each in (rule.process, rule.via) if each is not None]
        for program in programs:
            if not program.startswith("/"):
                raise _UnsayableError(f"{quoted(program)}: programs are known by their paths here")
            if program.startswith(_MACOS) or _MACOS_BUNDLE in program:
                raise _ForeignError(f"{quoted(program)} is a program of macOS")
        if rule.via is None:
            return {} if rule.process is None else {"exe": (escaped(rule.process),)}
        why = "via is said as: this program (exe:), started by the other (parent:)"
        self._report.changed(self._file, name, why)
        parent = {} if rule.process is None else {"parent": (escaped(rule.process),)}
        return {"exe": (escaped(rule.via),), **parent}

    def _of_server(self, name: str, rule: LittleSnitchRule) -> dict[str, tuple[str, ...]]:
        if rule.server in _UNSAYABLE:
            raise _UnsayableError(_UNSAYABLE[rule.server])
        if rule.server in _FIXED:
            if rule.server is Server.BROADCAST:
                why = "of broadcast addresses only 255.255.255.255 is meant here"
                self._report.in_part(self._file, name, why)
            return dict(_FIXED[rule.server])
        if rule.server is Server.ADDRESSES:
            return {"daddr": self._good(name, rule.values, written_address)}
        hosts = self._good(name, rule.values, _host)
        if rule.server is Server.HOSTS:
            return {"host": hosts}
        return {"host": tuple(each for host in hosts for each in (host, f"*.{host}"))}

    def _good(
        self, name: str, values: tuple[str, ...], written: Callable[[str], str | None]
    ) -> tuple[str, ...]:
        """Return those of *values* that can be *written*; the report is told of the others."""
        good: dict[str, None] = {}
        bad: list[str] = []
        for value in values:
            text = written(value)
            if text is None:
                bad.append(value)
            else:
                good[text] = None
        if bad:
            why = f"{len(bad)} of {len(values)} values are no address or name: {quoted(bad[0])}"
            if not good:
                raise _UnsayableError(why)
            self._report.in_part(self._file, name, why)
        return tuple(good)


def _host(text: str) -> str | None:
    host = text.lower().strip(".")
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            return None
    return host if is_host(host) and not host.startswith("*") else None


def _name(rule: LittleSnitchRule) -> str:
    """Return a name for a rule, which has none there."""
    whose = "anybody" if rule.process is None else rule.process.rpartition("/")[2]
    if rule.via is not None:
        whose += f" via {rule.via.rpartition('/')[2]}"
    where = rule.server.name.lower().replace("_", "-")
    if rule.values:
        more = len(rule.values) - 1
        where = rule.values[0] + (f" and {more} more" if more else "")
    return f"{rule.action} {whose[:_MAX_NAME]} to {where[:_MAX_NAME]}"


def _consequence(rule: LittleSnitchRule) -> str:
    """Say what it means that a rule is not there."""
    refuses = rule.action == "deny" and not rule.disabled
    return " (what it is to deny is not refused without it)" if refuses else ""
