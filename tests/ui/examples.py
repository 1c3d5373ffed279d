"""Questions, records, rules and connections as a daemon would tell them; made up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from nfsnitch.protocol import Asked

Json = dict[str, Any]

SHA256 = "e4f934f321eb76c9bf8b5103e0a0d9afe72d6e62ace3d3ea849790619bf7487a"
OTHER_SHA256 = "7b1fe2a4d0c35f1a86c9be4407d21f0c8a2e99b05b6c4f7d13a85e6094d2c7f1"


def owner(exe: str = "/usr/bin/curl", *args: str, **more: object) -> Json:
    """Return a program as the owner of a flow."""
    name = exe.rpartition("/")[2]
    return {
        "owner": "process",
        "pid": 4_711,
        "tid": 4_711,
        "start_time": 1_000_000,
        "exe": exe,
        "exe_device": 64_769,
        "exe_inode": 131_072,
        "exe_deleted": False,
        "args": [name, *args],
        "uid": 1000,
        "gid": 1000,
        "cgroup": "/user.slice/user-1000.slice/user@1000.service/app.slice/app-terminal.scope",
        "cgroup_id": 9_000,
        "parents": [
            {"pid": 4_000, "start_time": 900_000, "exe": "/usr/bin/bash"},
            {"pid": 3_000, "start_time": 800_000, "exe": "/usr/bin/gnome-terminal"},
            {"pid": 1, "start_time": 1, "exe": "/usr/lib/systemd/systemd"},
        ],
        "comm": name,
        "sha256": SHA256,
        "changed": False,
        "package": name,
        "user": "alice",
        "group": "alice",
        "unit": "user@1000.service/app-terminal.scope",
        **more,
    }


def flow(daddr: str = "192.0.2.1", dport: int = 443, proto: str = "tcp") -> Json:
    """Return a flow."""
    saddr = "2001:db8::2" if ":" in daddr else "192.0.2.200"
    return {"proto": proto, "saddr": saddr, "sport": 40_000, "daddr": daddr, "dport": dport}


def called(to: Json, name: str) -> Json:
    """Return a flow with the name by which its program looked for the address."""
    found = {"name": name, "source": "dns", "own": True, "age_s": 1.5, "ttl_s": 300}
    return {**to, "host": name, "names": [{**found, "resolver": "192.0.2.53", "aliases": []}]}


def asked(
    number: int = 1,
    sender: Json | None = None,
    to: Json | None = None,
    **more: Any,  # noqa: ANN401  the fields of Asked
) -> Asked:
    """Return a question."""
    sender, going = sender or owner(), to or flow()
    address, port = going["daddr"], f"{going['dport']}/{going['proto']}"
    question = Asked(
        number=number,
        since="2026-11-22T00:17:38.000000Z",
        left_s=24.0,
        flows=1,
        reason="default",
        rule=None,
        owner=sender,
        rivals=(),
        flow=going,
        iface="eth0",
        attribution="flow-map",
        who={
            "program": str(sender["exe"]),
            "unit": str(sender.get("unit", "")),
            "parent": "/usr/bin/gnome-terminal",
            "user": "alice",
        },
        where={
            **_named_places(going.get("host"), port),
            "anywhere": "",
            "port": port,
            "address": address,
            "address-port": f"{address}, {port}",
            "network": "192.0.2.0/24",
            "network-port": f"192.0.2.0/24, {port}",
        },
        times=None,
        silently=None,
    )
    return replace(question, **more)


def _named_places(name: object, port: str) -> dict[str, str]:
    if not isinstance(name, str):
        return {}
    above = f"*.{name.partition('.')[2]}"
    return {
        "host-port": f"{name}, {port}",
        "host": name,
        "domain-port": f"{above}, {port}",
        "domain": above,
    }


def record(at: int = 0, verdict: str = "accept", **more: object) -> Json:
    """Return one decision."""
    action = {"accept": "allow", "drop": "deny", "reject": "reject"}[verdict]
    return {
        "time": f"2026-11-22T00:{at // 60 % 60:02d}:{at % 60:02d}.{at:06d}Z",
        "verdict": verdict,
        "action": action,
        "rule": None,
        "reason": "default",
        "generation": 1,
        "attribution": "flow-map",
        "held_ms": 0.4,
        "packets": 1,
        **owner(),
        "netns": 4_026_531_840,
        **flow(),
        "iface": "eth0",
        **more,
    }


def rule(name: str, kind: str = "lasting", action: str = "allow", **more: object) -> Json:
    """Return a rule as the daemon lists it."""
    return {
        "name": name,
        "action": action,
        "kind": kind,
        "enabled": True,
        "expired": False,
        "note": None,
        "origin": None,
        "until": None,
        "left_s": None,
        "process": None,
        "rule": f"name: {name}\naction: {action}\nexe: /usr/bin/curl\ndport: 443\n",
        **more,
    }


def silenced(number: int, **more: Any) -> Json:  # noqa: ANN401  the fields of Asked
    """Return what would have been asked, as a row."""
    question = asked(number, times=3, silently="allow", **more)
    return {name: getattr(question, name) for name in Asked.__dataclass_fields__}
