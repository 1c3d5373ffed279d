"""What rule files are warned of."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nfsnitch.adapters.rulefile import Names, RuleFileError, RuleWarning, lint, lint_order
from nfsnitch.adapters.rulefile.lint_files import rule_file_warnings

Warned = Callable[[str], list[RuleWarning]]
NAMES = Names({"alice": 1000}.get, lambda service: frozenset({80} if service == "http" else ()))
NOW_NS = 1_800_000_000 * 10**9


@pytest.fixture
def warned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Warned:
    monkeypatch.setattr(lint, "rule_file_warnings", lambda _: ())

    def about(text: str) -> list[RuleWarning]:
        file = tmp_path / "rules.yaml"
        file.write_text(text)
        return list(lint.lint([file], NAMES, NOW_NS).warnings)

    return about


def codes(warnings: list[RuleWarning]) -> list[str]:
    return [each.code for each in warnings]


def two(first: str, second: str) -> str:
    """Return a file of two rules that allow nothing."""
    return "".join(
        f"- {{name: {name}, action: deny{', ' if fields else ''}{fields}}}\n"
        for name, fields in (("first", first), ("second", second))
    ).join(("rules:\n", ""))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("dport: 80", "dport: 80"),
        ("dport: 80", "dport: http, proto: tcp"),
        ("dport: 1-1000", "dport: [80, 443, 900-1000]"),
        ("dport: {not: 80}", "dport: 443"),
        ("dport: {not: 80}", "dport: {not: [80, 443]}"),
        ("daddr: 10.0.0.0/8", "daddr: [10.0.0.1, 10.2.0.0/16]"),
        ("daddr: [10.0.0.0/9, 10.128.0.0/9]", "daddr: 10.0.0.0/8"),
        ("daddr: {not: 10.0.0.0/8}", "daddr: '::1'"),
        ("uid: [0, 1000]", "user: alice"),
        ("exe: /opt/**", "exe: /opt/x/bin/y"),
        ("exe: /opt/**", "exe: /opt/x/*"),
        ("exe: '/usr/bin/*sh'", "exe: ['/usr/bin/*sh', /usr/bin/dash]"),
        ("exe: [/usr/bin/env, /usr/bin/cat]", "exe: /usr/bin/cat, dport: 80"),
        ("exe: {not: /usr/bin/cat}", "exe: /usr/bin/env"),
        ("parent: [/usr/bin/env, /usr/bin/cat]", "parent: /usr/bin/cat"),
        ("parent: {not: /usr/bin/cat}", "parent: {not: [/usr/bin/cat, /usr/bin/env]}"),
        ("args: [a, b]", "args: b"),
        ("owner: [kernel, unknown]", "owner: kernel"),
        ("owner: {not: unknown}", "owner: kernel"),
        ("family: ipv4, proto: tcp", "proto: tcp, family: ipv4, dport: 1"),
    ],
)
def test_a_rule_whose_cases_an_earlier_one_decides_is_shadowed(
    warned: Warned, first: str, second: str
) -> None:
    (shadowed,) = [each for each in warned(two(first, second)) if each.code == "shadowed"]
    assert shadowed.position.line == 3
    assert "'second'" in shadowed.what
    assert "rule 'first' before it" in shadowed.why
    assert "rules.yaml:2:3" in shadowed.why


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("dport: 80, proto: tcp", "dport: 80"),
        ("dport: 80", "dport: [80, 81]"),
        ("dport: {not: 80}", "dport: 1-100"),
        ("dport: {not: [80, 81]}", "dport: {not: 80}"),
        ("dport: 80", "daddr: 10.0.0.1"),
        ("daddr: 0.0.0.0/0", "daddr: '::1'"),
        ("uid: 0", "user: alice"),
        ("exe: /opt/*", "exe: /opt/x/y"),
        ("exe: '/opt/*/**'", "exe: /opt/*"),
        ("exe: /usr/bin/cat", "exe: '/usr/bin/*'"),
        ("exe: /usr/bin/cat", "parent: /usr/bin/cat"),
        ("exe: {not: /usr/bin/cat}", "exe: '/usr/bin/*'"),
        ("parent: {not: [/usr/bin/cat, /usr/bin/env]}", "parent: {not: /usr/bin/cat}"),
        ("parent: {not: /usr/bin/cat}", "parent: /usr/bin/env"),
        ("args: a", "args: ab"),
        ("owner: {not: kernel}", "owner: unknown"),
        ("owner: kernel", ""),
    ],
)
def test_a_rule_that_may_decide_something_is_not_called_shadowed(
    warned: Warned, first: str, second: str
) -> None:
    assert not {"shadowed", "after-catch-all"} & set(codes(warned(two(first, second))))


def test_rules_after_one_without_fields_are_told_so(warned: Warned) -> None:
    (warning,) = warned(two("", "dport: 80"))
    assert warning.code == "after-catch-all"
    assert "decides everything" in warning.why


def test_a_shadowed_rule_is_told_once_by_the_first_that_shadows_it(warned: Warned) -> None:
    same = "".join(f"- {{name: r{number}, action: deny, dport: 80}}\n" for number in range(4))
    found = warned(f"rules:\n{same}")
    assert codes(found) == ["shadowed"] * 3
    assert all("'r0'" in each.why for each in found)


def test_comparing_rules_ends_and_says_so(warned: Warned, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lint_order, "MAX_COMPARISONS", 5)
    many = "".join(f"- {{name: r{n}, action: deny, dport: {n}}}\n" for n in range(9))
    (warning,) = warned(f"rules:\n{many}")
    assert warning.code == "not-compared"


def test_thousands_of_rules_for_programs_are_all_compared(warned: Warned) -> None:
    many = "".join(f"- {{name: r{n}, action: deny, exe: /none/{n}}}\n" for n in range(3_000))
    found = warned(f"rules:\n{many}- {{name: last, action: deny, exe: /none/7, dport: 7}}\n")
    (shadowed,) = [each for each in found if each.code != "no-such-file"]
    assert "'r7'" in shadowed.why


@pytest.mark.parametrize(
    "fields",
    [
        "dport: {not: 0-65535}",
        "daddr: {not: [0.0.0.0/0, '::/0']}",
        "family: {not: [ipv4, ipv6]}",
        "exe: {not: /**}",
        "uid: 0, user: alice",
        "uid: {not: [0, 1000]}, user: alice",
    ],
)
def test_a_rule_that_can_match_nothing_is_told_so(warned: Warned, fields: str) -> None:
    (warning,) = warned(two(fields, ""))
    assert warning.code == "never-matches"
    assert "'first'" in warning.what


@pytest.mark.parametrize("fields", ["uid: 1000, user: alice", "uid: {not: 0}, user: alice"])
def test_fields_that_agree_are_not_called_contradictory(warned: Warned, fields: str) -> None:
    assert warned(two(fields, "")) == []


def test_a_user_whom_this_machine_does_not_have_is_warned_of(warned: Warned) -> None:
    (warning,) = warned("rules:\n- {name: r, action: allow, user: [alice, bob]}\n")
    assert warning.code == "absent-name"
    assert (warning.position.line, warning.position.column) == (2, 42)
    assert "user 'bob'" in warning.what


def test_nobody_is_matched_by_a_user_whom_this_machine_does_not_have(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text("rules: [{name: r, action: allow, user: bob}]")
    (rule,) = lint.lint([file], NAMES, NOW_NS).ruleset.rules
    (condition,) = rule.conditions
    assert getattr(condition, "wanted", None) == frozenset()


def test_under_not_such_a_user_is_refused_since_it_would_leave_nobody_out(warned: Warned) -> None:
    with pytest.raises(RuleFileError, match="user 'bob': this machine has no such user"):
        warned("rules: [{name: r, action: allow, user: {not: bob}}]")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("default: allow", "allows-the-rest"),
        ("unattributed: allow", "allows-the-rest"),
        ("unanswered: allow", "allows-the-rest"),
        ("rules: [{name: r, action: allow}]", "too-wide"),
        ("rules: [{name: r, action: allow, dport: 443}]", "too-wide"),
        ("rules: [{name: r, action: allow, exe: /**}]", "too-wide"),
        ("rules: [{name: r, action: allow, exe: {not: /usr/bin/env}}]", "too-wide"),
        ("rules: [{name: r, action: allow, owner: unknown}]", "too-wide"),
        ("rules: [{name: r, action: allow, args: -k}]", "chosen-by-program"),
        ("rules: [{name: r, action: allow, args: -k, daddr: 10.0.0.1}]", "chosen-by-program"),
        ("rules: [{name: r, action: allow, exe: '/usr/bin/*'}]", "any-script"),
    ],
)
def test_what_lets_out_more_than_is_meant_is_warned_of(
    warned: Warned, text: str, code: str
) -> None:
    assert codes(warned(text)) == [code]


@pytest.mark.parametrize(
    "text",
    [
        "default: ask\nunanswered: reject",
        "rules: [{name: r, action: deny}]",
        "rules: [{name: r, action: allow, daddr: 10.0.0.0/8}]",
        "rules: [{name: r, action: allow, user: alice}]",
        "rules: [{name: r, action: allow, owner: kernel}]",
        "rules: [{name: r, action: allow, exe: '/usr/bin/*', args: x}]",
        "rules: [{name: r, action: deny, exe: '/usr/bin/*'}]",
    ],
)
def test_what_is_narrow_enough_is_not_warned_of(warned: Warned, text: str) -> None:
    assert warned(text) == []


@pytest.mark.parametrize("name", ["bash", "python3.12", "perl5.36.0", "node", "java", "sh"])
def test_an_interpreter_allowed_whatever_it_runs_is_warned_of(
    warned: Warned, name: str, tmp_path: Path
) -> None:
    program = tmp_path.resolve() / name
    program.touch(0o755)
    (warning,) = [
        each
        for each in warned(f"rules: [{{name: r, action: allow, exe: {program}}}]")
        if each.code != "writable-program"
    ]
    assert warning.code == "any-script"
    assert "args:" in warning.instead


class TestPaths:
    """Rules whose paths are looked for in a directory of the test's own."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        place = tmp_path.resolve() / "programs"
        place.mkdir(mode=0o755)
        (place / "real").touch()
        (place / "real").chmod(0o755)
        (place / "link").symlink_to("real")
        (place / "text").touch()
        (place / "text").chmod(0o644)
        (place / "directory").mkdir()
        (place / "elsewhere").symlink_to("directory")
        (place / "directory" / "deep").touch()
        return place

    @pytest.mark.parametrize(
        ("path", "code", "said"),
        [
            ("none", "no-such-file", "no such file"),
            ("real/below", "no-such-file", "no such file"),
            ("link", "symlink", "programs/real'"),
            ("elsewhere/deep", "symlink", "directory/deep'"),
            ("text", "no-program", "nobody may execute"),
            ("directory", "no-program", "no file that can be run"),
            ("n*", "no-such-file", "no file of this machine matches"),
            ("n*/**", "no-such-file", "no file of this machine matches"),
            ("**/none", "no-such-file", "no file of this machine matches"),
            ("l*", "symlink", "programs/real'"),
        ],
    )
    @pytest.mark.parametrize("field", ["exe", "parent"])
    def test_a_path_that_is_no_program_s_is_warned_of(
        self, warned: Warned, place: Path, field: str, path: str, code: str, said: str
    ) -> None:
        (warning,) = warned(f"rules: [{{name: r, action: deny, {field}: '{place}/{path}'}}]")
        assert warning.code == code
        assert said in warning.why + warning.instead

    @pytest.mark.parametrize(
        "path", ["real", "r*", "*", "?eal", "[a-z]eal", "**", "d*/d*", "**/deep"]
    )
    def test_a_path_that_is_there_is_fine(self, warned: Warned, place: Path, path: str) -> None:
        assert warned(f"rules: [{{name: r, action: deny, exe: '{place}/{path}'}}]") == []

    def test_a_program_that_anybody_can_change_should_not_be_allowed(
        self, warned: Warned, place: Path
    ) -> None:
        (place / "real").chmod(0o757)
        text = f"rules: [{{name: r, action: allow, exe: {place}/real}}]"
        (warning,) = warned(text)
        assert (warning.code, warning.why) == ("writable-program", "anybody may write to it")
        assert warned(text.replace("allow", "deny")) == []

    @pytest.mark.parametrize("path", ["real", "r*", "**", "none"])
    def test_a_directory_where_anybody_can_put_programs_should_not_be_allowed(
        self, warned: Warned, place: Path, path: str
    ) -> None:
        place.chmod(0o1777)
        text = f"rules: [{{name: r, action: allow, exe: '{place}/{path}'}}]"
        (warning,) = [each for each in warned(text) if each.code != "no-such-file"]
        assert warning.code == "writable-program"
        assert "anybody may put a program" in warning.why


class TestRuleFiles:
    """The rule files themselves, in directories that tests of root's can give away."""

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        if os.geteuid() != 0:
            pytest.skip("whom a file belongs to can be set by root only")
        file = tmp_path.resolve() / "rules.d" / "rules.yaml"
        file.parent.mkdir(mode=0o755)
        file.write_text("rules: []")
        return file

    def test_a_file_of_root_s_alone_is_fine(self, file: Path) -> None:
        assert list(rule_file_warnings([file, file.parent])) == []

    def test_a_file_that_others_can_write_to_is_warned_of(self, file: Path) -> None:
        file.chmod(0o666)
        (warning,) = rule_file_warnings([file])
        assert warning.why == "anybody may write to it"
        file.chmod(0o664)
        os.chown(file, 0, 50)
        (warning,) = rule_file_warnings([file])
        assert warning.why == "group 50 may write to it"

    def test_a_file_of_somebody_else_s_is_warned_of(self, file: Path) -> None:
        os.chown(file, 1000, 0)
        (warning,) = rule_file_warnings([file.parent])
        assert warning.why == "it belongs to user 1000"
        assert str(warning).startswith(f"{file}:1:1: warning: rule file: ")

    def test_a_directory_that_others_can_write_to_is_warned_of(self, file: Path) -> None:
        file.parent.chmod(0o777)
        (warning,) = rule_file_warnings([file])
        assert warning.what == f"rule file in '{file.parent}'"
        file.parent.chmod(0o1777)  # sticky, as /tmp: nobody else can replace the file
        assert list(rule_file_warnings([file])) == []
