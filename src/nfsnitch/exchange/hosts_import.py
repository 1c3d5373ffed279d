"""A hosts file as a list of names, and one rule that refuses what is on it."""

from __future__ import annotations

from ipaddress import ip_address

from nfsnitch.core.listing import ListFormat
from nfsnitch.core.text import counted, encoded
from nfsnitch.exchange.draft import FileDraft, ListDraft, RuleDraft, UniqueNames, list_name
from nfsnitch.exchange.report import Report
from nfsnitch.lists.reading import read_list


def import_hosts(path: str, text: str, action: str, report: Report) -> FileDraft:
    """Return a rule file with the hosts file at *path*, an absolute path, as a list.

    *text* is what stands in it; it is looked at only to say what there is. *action* is what becomes
    of connections to its names: ``deny`` or ``reject``.
    """
    name = list_name(path.rpartition("/")[2])
    title = f"Imported from the hosts file {path}"
    _, found = read_list([encoded(text)], ListFormat.HOSTS)
    if found.errors:
        first = found.first_errors[0]
        number = counted(found.errors, "line")
        why = f"{number} cannot be read and count for nothing; line {first.line}: {first.why}"
        report.changed(path, None, why)
    if not found.domains:
        report.left_out(path, None, "there is no name of a host in it")
        return FileDraft(title)
    elsewhere = sum(map(_names_elsewhere, text.splitlines()))
    if elsewhere:
        number = counted(elsewhere, "name")
        why = f"{number} with a real address would be refused as the others: take them out of it"
        report.changed(path, None, why)
    rule = RuleDraft(UniqueNames().name(f"names on {name}"), action, {"list": (name,)}, file=path)
    return FileDraft(title, lists=[ListDraft(name, path, "hosts")], rules=[rule])


def _names_elsewhere(line: str) -> int:
    """Return how many names a line gives an address that is some other machine's."""
    words = line.partition("#")[0].split()
    try:
        address = ip_address(words[0].partition("%")[0])
    except (ValueError, IndexError):
        return 0
    is_blocking = address.is_unspecified or address.is_loopback or address.is_multicast
    return 0 if is_blocking else len(words) - 1
