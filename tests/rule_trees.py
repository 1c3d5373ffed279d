"""Trees as rule files have them: some are right, some nearly so."""

from __future__ import annotations

from hypothesis import strategies as st

from nfsnitch.adapters.rulefile.fields import RULE_FIELDS

_VALUES: dict[str, list[object]] = {
    "owner": ["kernel", "unknown", "process"],
    "family": ["ipv4", "ipv6", "4"],
    "proto": ["tcp", "udp", 6, "17", 256, "icmp"],
    "dport": ["http", 80, "443", "8000-8080", "nothing", 65_536],
    "daddr": ["10.0.0.0/8", "::1", "192.0.2.1-192.0.2.9", "lan", "true", "10.0.0.1/8"],
    "uid": [0, "1000", -1],
    "user": ["alice", 1000],
    "exe": ["/usr/bin/curl", "/opt/**", "curl", "/["],
    "parent": ["/usr/sbin/cron"],
    "args": ["-k", "^curl", 5, True, None, "(a)\\1"],
}
_ANYTHING: list[object] = ["x", "/x", 1, "1", True, None, "lan", "10:00-12:00", "2030-01-01"]


def _values(field: str) -> st.SearchStrategy[object]:
    value = st.sampled_from(_VALUES.get(field, _ANYTHING))
    plain = st.one_of(value, st.lists(value, max_size=3))
    return st.one_of(plain, st.fixed_dictionaries({"not": plain}))


def _rules() -> st.SearchStrategy[dict[str, object]]:
    """Return rules of at most three fields: with more hardly one would load."""
    fields = st.lists(st.sampled_from(sorted(RULE_FIELDS)), unique=True, max_size=3)
    actions = st.sampled_from(["allow", "deny", "reject", "ask"])
    return fields.flatmap(
        lambda names: st.fixed_dictionaries(
            {"name": st.just("r"), "action": actions, **{name: _values(name) for name in names}}
        )
    )


def rule_files() -> st.SearchStrategy[dict[str, object]]:
    """Return trees of which a good part loads; they know the user alice and the service http."""
    groups = {"lan": "10.0.0.0/8", "true": ["lan", "192.0.2.1"]}
    return st.fixed_dictionaries(
        {"groups": st.just(groups), "rules": st.lists(_rules(), max_size=1)},
        optional={
            "version": st.sampled_from([1, "1", 2]),
            "default": st.sampled_from(["ask", "deny", "maybe"]),
            "unanswered": st.sampled_from(["ask", "deny"]),
            "timeouts": st.sampled_from([{"ask": "30s"}, {"ask": 30}, {}]),
        },
    )
