"""Rule files made by chance of what people write: plainly, oddly and wrongly."""

from __future__ import annotations

import re
from random import Random

from nfsnitch.core.ruleset import Ruleset

_PLAIN = (
    "  - {name: NAME, action: allow, exe: /usr/bin/curl, dport: 443}",
    "  - {name: NAME, action: deny, daddr: 10.0.0.0/24, dport: [80, 443, 8000-8080]}",
    "  - {name: NAME, action: reject, exe: [/a, /b], daddr: [192.0.2.1, 2001:db8::/32], uid: 0}",
    "  - name: NAME\n    action: allow\n    exe: /usr/bin/*\n    note: seen (by hand) in 2025",
    "  - name: NAME\n    action: ask\n    daddr: 192.0.2.1-192.0.2.9\n\n    # so\n    proto: udp",
    "  - {name: NAME, action: deny, host: example.org}",
    "  - {name: NAME, action: allow, app: flatpak:org.example.App}",
    "  - {action: deny, name: NAME, sport: 53, uid: [0, 1000]}",
    "  - {name: NAME, action: deny, cgroup: /a, proto: [tcp, udp], note: so}",
    "  - {name: NAME, action: allow, saddr: 10.0.0.1, family: ipv4}",
    "  - {name: NAME, action: deny, uid: 0, user: root, daddr: 0.0.0.0/0}",
    "  - {name: NAME, action: deny, family: ipv4, saddr: 10.0.0.1, daddr: [10.0.0.2, ::1]}",
    "  - {name: NAME, action: deny, family: ipv6, daddr: [10.0.0.2, ::1]}",
)
_DEPENDENT = (
    "  - {name: NAME, action: deny, daddr: office}",
    "  - {name: NAME, action: deny, daddr: [office, 192.0.2.1], user: alice}",
    "  - {name: NAME, action: allow, dport: http}",
    "  - {name: NAME, action: allow, dport: [http]}",
    "  - {name: NAME, action: allow, list: ads, on_unknown_name: deny}",
    "  - {name: NAME, action: allow, user: nobody-here}",
    "  - {name: NAME, action: allow, netns: lab}",
)
_ODD = (
    "  - {name: 'NAME', action: allow, dport: 443}  # said twice",
    '  - name: "NAME: so"\n    action: allow\n    exe:\n      - /usr/bin/a\n      - /usr/bin/b',
    "  - name: NAME\n    note: >-\n      several\n      lines\n    action: deny",
    "  -   name: NAME\n      action: deny",
    "  - {name: NAME, action: allow, exe: {not: /usr/bin/curl}}",
    "  - {name: NAME, action: allow, schedule: mon-fri 08:00-18:00, enabled: false}",
    "  - {name: NAME, action: deny, host: '*.example.net', dns: refuse}",
    "  - {name: NAME, action: deny, proto: packet}",
    "  - {name: NAME, action: allow, exe: /off, sport: 4000, enabled: false}",
    "  - {name: NAME, action: allow, args: ^curl, expires: 2099-01-01T00:00:00Z}",
    "  - {name: NAME ü, action: allow, dport: 1}",
    "  - {name: NAME,\n     action: allow}",
    "# nothing\n\n    # at all",
    "  - {name: &a NAME, action: allow}",
)
_WRONG = (
    "  - {name: NAME, action: alow}",
    "  - {name: NAME, action: allow, action: deny}",
    "  - {name: NAME, action: allow, dport: 70000}",
    "  - {name: rule 0, action: allow}",
    "  - {name: NAME, action: allow, family: ipv6, daddr: 10.0.0.1}",
    "  - {name: NAME, action: allow, family: ipv4, daddr: 2001:db8::1}",
    "  - {name: NAME, action: allow, saddr: 2001:db8::/32, family: ipv4}",
    "  - {name: NAME, action: allow, dport: }",
    "  - {name: NAME, action: allow, colour: red}",
    "  - {name: NAME, action: allow, name: NAME}",
    "  - {name: NAME, action: allow, note: a, note: b}",
    "  - {name: NAME, action: allow, dport: 80, dport: 81}",
    "  - {name: NAME, action: allow",
    "  - {name: NAME, action: allow}}",
    "  - {name: NAME, action: allow, exe: *a}",
    " - {name: NAME, action: allow}",
    "  - word",
    "    - {name: NAME, action: allow}",
    "   name: NAME",
    "  - name: NAME\n   action: allow",
    "  - name: NAME\n    action: allow\n      more",
    "default: deny",
    "---",
    "...",
    "  - {name: NAME, action: allow, proto: icmp, dport: 1}",
    "  - {name: NAME, action: allow, script: /a.py}",
    "  - {action: allow}",
    "\t# tab",
)
_HEADS = (
    "version: 1\n",
    "# rules: these\ndefault: deny\n",
    "groups:\n  office: [192.0.2.0/24, 2001:db8::1]\nlists: {ads: {file: /ads.txt}}\n",
    "\ufeffon_unknown_name: deny\n",
    "fail: 'open\n\n  rules:'\n",
)
_COMPILED = re.compile(r"_compiled=\([^()]*(?:\([^()]*\)[^()]*)*\)")
_AT = re.compile(r" at 0x[0-9a-f]+")


def written_file(chance: Random, *, wrong: bool) -> str:
    """Return a file of some rules; *wrong* ones may be among them, or they may lack a group."""
    head = _HEADS[2] + chance.choice((*_HEADS[:2], "on_unknown_name: deny\n"))
    if wrong:
        head = "".join(chance.sample(_HEADS, chance.randrange(3)))
    kinds = [_PLAIN, _PLAIN, _PLAIN, _DEPENDENT, _ODD]
    items = [chance.choice(chance.choice(kinds)) for _ in range(chance.randrange(1, 40))]
    if wrong and chance.random() < 0.7:
        items.insert(chance.randrange(len(items) + 1), chance.choice(_WRONG))
    body = "\n".join(item.replace("NAME", f"rule {at}") for at, item in enumerate(items))
    return (
        f"{head}rules:{chance.choice(['', ' ', '  # all'])}\n{body}{chance.choice(['', chr(10)])}"
    )


def said(ruleset: Ruleset) -> str:
    """Return all that a ruleset says, as it can be compared: compiled expressions cannot."""
    rules = "\n".join(map(repr, ruleset.rules))
    rest = (ruleset.default, ruleset.unattributed, ruleset.unanswered, ruleset.settings)
    lists = [each.definition for each in ruleset.lists]
    text = f"{rules}\n{rest}\n{lists}\n{ruleset.seeing} {ruleset.asks_script}"
    return _AT.sub("", _COMPILED.sub("", text))
