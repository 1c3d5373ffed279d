"""Globs and regular expressions against what they are said to mean."""

import time
from functools import cache
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfsnitch.core.pattern import PatternError, paths, regexes
from nfsnitch.core.text import decoded

LETTERS = "abé/"
STRAY = decoded(b"\xff")


@pytest.mark.parametrize(
    ("glob", "path"),
    [
        ("/usr/bin/curl", "/usr/bin/curl"),
        ("/usr/bin/c*", "/usr/bin/curl"),
        ("/usr/bin/c*l", "/usr/bin/cl"),
        ("/opt/**/bin/x", "/opt/a/b/bin/x"),
        ("/opt/**", "/opt/a/b"),
        ("/bin/??", "/bin/éè"),
        ("/bin/[a-c]x", "/bin/bx"),
        ("/bin/[!a-c]x", "/bin/dx"),
        ("/bin/[]]", "/bin/]"),
        ("/bin/[!]]", "/bin/a"),
        ("/bin/[a-]", "/bin/-"),
        (r"/bin/[\]a]", "/bin/]"),
        (r"/bin/\*", "/bin/*"),
        ("/bin/*.{a}+", "/bin/x.{a}+"),
        ("/bin/*", "/bin/a\nb"),
        ("/bin/?", decoded(b"/bin/\xe9")),
        ("/bin/???", decoded(b"/bin/\xe2\x82x")),
        ("/bin/[!a]", decoded(b"/bin/\xe9")),
    ],
)
def test_a_glob_matches_the_path(glob: str, path: str) -> None:
    assert path in paths([glob])


@pytest.mark.parametrize(
    ("glob", "path"),
    [
        ("/usr/bin/curl", "/usr/bin/curlx"),
        ("/usr/bin/c*", "/usr/bin/c/url"),
        ("/bin/?", "/bin//"),
        ("/bin/[!a]", "/bin//"),
        ("/bin/[!a]", "/bin/a"),
        ("/bin/[!é]*", "/bin/é"),
        ("/opt/**/x", "/opt/x"),
        (r"/bin/\*", "/bin/a"),
        ("/bin/c*", "/sbin/curl"),
        ("/bin/c*", "x/bin/curl"),
        ("/bin/a.c*", "/bin/abc"),
    ],
)
def test_a_glob_does_not_match_another_path(glob: str, path: str) -> None:
    assert path not in paths([glob])


def test_paths_without_wildcards_are_kept_for_exact_comparison() -> None:
    found = paths(["/usr/bin/a", r"/usr/bin/\[b", "/usr/bin/c*"])
    assert found.exact == {"/usr/bin/a", "/usr/bin/[b"}
    assert found.globs == ("/usr/bin/c*",)


def test_two_undecodable_paths_are_not_mistaken_for_each_other() -> None:
    found = paths([decoded(b"/bin/\xff")])
    assert decoded(b"/bin/\xff") in found
    assert decoded(b"/bin/\xfe") not in found


def test_nothing_but_text_is_in_a_set_of_patterns() -> None:
    assert None not in paths(["/**"])
    assert None not in regexes([".*"])


@pytest.mark.parametrize(
    ("glob", "why"),
    [
        ("/a[bc", "never closed"),
        ("/a[", "never closed"),
        ("/a[b-", "never closed"),
        ("/a[b\\", "never closed"),
        ("/a\\", "escapes nothing"),
        ("/[^a]", "one thing here"),
        ("/[z-a]", "reversed"),
        ("/[a/b]", "never matches /"),
        ("/[+-9]", "never matches /"),
        ("/[[:alpha:]]", "no names"),
    ],
)
def test_a_malformed_glob_says_why(glob: str, why: str) -> None:
    with pytest.raises(PatternError, match=why):
        paths([glob])


_stars = st.just("*")
_token = st.one_of(
    st.sampled_from(LETTERS),
    st.just("?"),
    _stars,
    st.tuples(st.booleans(), st.sets(st.sampled_from("abé"), min_size=1).map(sorted)),
)


def _glob_text(tokens: list[str | tuple[bool, list[str]]]) -> str:
    return "".join(
        token if isinstance(token, str) else f"[{'!' * token[0]}{''.join(token[1])}]"
        for token in tokens
    )


def _oracle(tokens: list[str | tuple[bool, list[str]]], path: str) -> bool:
    """Match by trying everything; adjacent stars are one that crosses slashes."""
    stars = groupby(tokens, key=_is_star)
    parts = [part for is_star, run in stars for part in ([list(run)] if is_star else run)]

    @cache
    def rest(at: int, position: int) -> bool:
        if at == len(parts):
            return position == len(path)
        part = parts[at]
        if isinstance(part, list):
            stops = range(position, len(path) + 1)
            crosses = len(part) > 1
            return any(
                rest(at + 1, stop) for stop in stops if crosses or "/" not in path[position:stop]
            )
        if position == len(path) or not _fits(part, path[position]):
            return False
        return rest(at + 1, position + 1)

    return rest(0, 0)


def _is_star(part: object) -> bool:
    return part == "*"


def _fits(part: str | tuple[bool, list[str]], character: str) -> bool:
    if part == "?":
        return character != "/"
    if isinstance(part, str):
        return character == part
    negated, members = part
    return character != "/" and (character in members) is not negated


@given(st.lists(_token, max_size=8), st.text(LETTERS + STRAY + "\n", max_size=8))
def test_globs_agree_with_an_independent_matcher(
    tokens: list[str | tuple[bool, list[str]]], path: str
) -> None:
    assert (path in paths([_glob_text(tokens)])) is _oracle(tokens, path)


@given(st.lists(st.lists(_token, max_size=4), max_size=4), st.text(LETTERS, max_size=5))
def test_a_set_of_globs_holds_what_any_of_them_matches(
    globs: list[list[str | tuple[bool, list[str]]]], path: str
) -> None:
    assert (path in paths(map(_glob_text, globs))) is any(_oracle(each, path) for each in globs)


@given(st.text(max_size=20), st.binary(max_size=30))
def test_any_text_is_a_glob_or_is_refused_and_no_path_makes_it_fail(glob: str, path: bytes) -> None:
    try:
        found = paths([glob])
    except PatternError:
        return
    assert (decoded(path) in found) in {True, False}


@given(st.text("ab*?[]!-\\(){}.+^$|é", max_size=12), st.binary(max_size=30))
def test_any_text_is_a_regex_or_is_refused_and_no_text_makes_it_fail(
    source: str, text: bytes
) -> None:
    try:
        found = regexes([source])
    except PatternError:
        return
    assert (decoded(text) in found) in {True, False}


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("--insecure|-k", "curl -k x"),
        ("^curl .*evil$", "curl a\nb evil"),
        ("^curl .*evil$", decoded(b"curl \xff\xfe evil")),
        ("[éè]$", "caf\u00e9"),
        ("(?i)É", "é"),
        ("^.{3}$", "aéb"),
    ],
)
def test_a_regex_is_found_in_the_text(source: str, text: str) -> None:
    assert text in regexes([source])


def test_several_regexes_match_what_any_of_them_matches() -> None:
    found = regexes(["^a$", "(?i)B"])
    assert [text in found for text in ("a", "xb", "A", "c")] == [True, True, False, False]


@pytest.mark.parametrize(
    ("source", "why", "instead"),
    [
        (r"(a)\1", "no backreferences", "write what is meant out"),
        ("(?P<n>a)(?P=n)", "no backreferences", "write what is meant out"),
        ("(?=a)", "no lookaround", "rule before"),
        ("(?<!a)b", "no lookaround", "rule before"),
        ("(?>a)", "no atomic", r"\(\?:"),
        (r"a\Z", r"no \\Z", r"\\z"),
        ("a++", "possessive", "one of"),
        ("((a{100}){100}){100}", "1000", "write"),
        ("[[:word:]]{900}(.{50}){19}\\pL{900}", "KiB", "shorter"),
        ("(a", "missing", "syntax of RE2"),
    ],
)
def test_a_regex_that_re2_cannot_do_says_what_to_write(source: str, why: str, instead: str) -> None:
    with pytest.raises(PatternError, match=why) as caught:
        regexes([source])
    assert caught.value.instead in regexes([instead])


def test_the_reason_is_fit_to_be_shown_whatever_the_regex_has_in_it() -> None:
    with pytest.raises(PatternError) as caught:
        regexes(["(\u202e\x1b[31m"])
    assert str(caught.value).isprintable()


def test_an_expression_that_makes_backtracking_matchers_hang_takes_linear_time() -> None:
    found = regexes(["(a+)+(a+)+(a+)+$"])
    began = time.process_time()
    assert "a" * 100_000 + "b" not in found
    assert time.process_time() - began < 2


def test_globs_that_are_too_large_together_are_tried_one_by_one() -> None:
    many = [f"/opt/{number:04}/{'é' * 40}*{'x' * 40}?" for number in range(2000)]
    found = paths(many)
    assert f"/opt/1999/{'é' * 40}{'x' * 40}y" in found
    assert f"/opt/2000/{'é' * 40}{'x' * 40}y" not in found
