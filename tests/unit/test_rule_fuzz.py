"""Whatever a rule file has in it: a ruleset, or problems with places that exist."""

from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from nfsnitch.adapters.rulefile import Names, Problem, RuleFileError, document, load
from nfsnitch.adapters.rulefile.fields import RULE_FIELDS
from nfsnitch.adapters.rulefile.head import HEAD

NAMES = Names({"alice": 1000}.get, lambda service: frozenset({80} if service == "http" else ()))
LOADERS = [yaml.SafeLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader)]

_words = st.sampled_from(
    [
        "version",
        "default",
        "unattributed",
        "unanswered",
        "timeouts",
        "groups",
        "rules",
        "name",
        "action",
        "exe",
        "args",
        "uid",
        "user",
        "parent",
        "proto",
        "family",
        "daddr",
        "dport",
        "owner",
        "not",
        *("script", "comm", "gid", "group", "cgroup", "unit", "app", "pid", "saddr", "sport"),
        *("iface", "netns", "schedule", "enabled", "note", "expires"),
        *("ports", "programs", "users", "usergroups", "addresses"),
        *("mon-fri 08:00-18:00", "sat", "2030-12-31", "true", "false", "own", "eth0"),
        *("/usr/bin/python3", "/system.slice/**", "cron.service", "flatpak:a.b", "container:ab"),
        "ask",
        "allow",
        "1",
        "80",
        "0x50",
        "8000-8080",
        "http",
        "alice",
        "tcp",
        "icmp",
        "ipv4",
        "10.0.0.0/8",
        "::1",
        "lan",
        "30s",
        "/usr/bin/*",
        "/[",
        "(a)\\1",
        "kernel",
        "unknown",
        "~",
        "yes",
        "<<",
    ]
)
_text = st.one_of(_words, st.text(max_size=4))
_tree = st.recursive(
    _text,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_text, inner, max_size=5)),
    max_leaves=12,
)
_rule = st.dictionaries(_words, _tree, max_size=6)
_file = st.one_of(
    _tree,
    st.fixed_dictionaries(
        {},
        optional={"rules": st.lists(_rule, max_size=4), "groups": st.dictionaries(_words, _tree)},
    ),
)
_yaml_like = st.lists(
    st.one_of(
        _words,
        st.sampled_from(list("[]{}:,-?&*!|>'\"%@`#\n\t \\\0\x1b\u2028\ufeffé")),
        st.just(": "),
    ),
    max_size=25,
).map("".join)

_relaxed = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(params=LOADERS, ids=lambda loader: loader.__name__)
def file(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(document, "_LOADER", request.param)
    return tmp_path / "rules.yaml"


@pytest.fixture
def fast_file(tmp_path: Path) -> Path:
    return tmp_path / "rules.yaml"


def problems_of(file: Path) -> tuple[Problem, ...]:
    """Load *file*; anything raised but `RuleFileError` fails the test."""
    try:
        load([file], NAMES)
    except RuleFileError as error:
        return error.problems
    return ()


def check(file: Path, raw: bytes) -> None:
    file.write_bytes(raw)
    lines = raw.decode("utf-8-sig", "replace").split("\n")
    for problem in problems_of(file):
        assert 1 <= problem.position.line <= len(lines)
        assert 1 <= problem.position.column <= len(lines[problem.position.line - 1]) + 1
        assert str(problem).isprintable()


@_relaxed
@given(st.binary(max_size=60))
@example(b"\xef\xbb\xbf\xff")
def test_random_bytes_are_loaded_or_refused_at_a_place_that_exists(file: Path, raw: bytes) -> None:
    check(file, raw)


@_relaxed
@given(_yaml_like)
@example('"\\UFFFFFFFF"')
@example('default: "\\ud800"')
@example("rules: [")
@example("%YAML 9.9\n---\n")
@example("a: &a\n  *a : 1")
@example("---")
@example("rules:\n-")
def test_almost_yaml_is_loaded_or_refused_at_a_place_that_exists(file: Path, text: str) -> None:
    check(file, text.encode())


_pieces = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *("mon", "fri", "-", ",", " ", "08:00", "24:00", "22:00-06:00", "2030-12-31", "T"),
                *("snap:", "container:", "flatpak:", "0123456789ab", "/", "*", "[", "\\", "\\x2d"),
                *(".service", "user@1.service", ".slice", "eth0", "own", "80", "lan", "people"),
                *("ads", "*.", ".org", "example", "xn--", "skip", "refuse"),
            ]
        ),
        st.text(max_size=3),
    ),
    max_size=5,
).map("".join)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.dictionaries(
        st.sampled_from([*RULE_FIELDS, *HEAD]),
        st.one_of(
            _pieces,
            st.lists(_pieces, max_size=3),
            st.fixed_dictionaries({"not": st.one_of(_pieces, st.lists(_pieces, max_size=3))}),
        ),
        max_size=4,
    )
)
def test_any_values_of_real_fields_are_loaded_or_refused_at_a_place_that_exists(
    fast_file: Path, rule: dict[str, object]
) -> None:
    groups = {"lan": "10.0.0.0/8", "people": {"users": ["alice", "7"]}}
    lists = {"ads": {"file": "/x"}}
    tree = {"groups": groups, "lists": lists, "rules": [{"name": "r", "action": "deny"} | rule]}
    check(fast_file, yaml.safe_dump(tree, allow_unicode=True, sort_keys=False).encode())


@_relaxed
@given(_file)
def test_any_tree_is_loaded_or_refused_at_a_place_that_exists(file: Path, tree: object) -> None:
    check(file, yaml.safe_dump(tree, allow_unicode=True, sort_keys=False).encode())
