"""A file of answers as text: one rule comes or goes, and all the rest stays as it was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfsnitch.adapters.rulefile.answers import EMPTY, AnswersText, read_answers
from nfsnitch.adapters.rulefile.files import Source
from nfsnitch.adapters.rulefile.names import Names
from nfsnitch.adapters.rulefile.problems import RuleFileError

NAMES = Names({"alice": 1_000}.get, lambda service: frozenset({80} if service == "http" else ()))

BY_HAND = """\
# Mine.
version: 1
groups:
  office: [192.0.2.0/24]  # both floors
rules:
# The office may be reached by all.
- name: office
  action: allow
  daddr: office

# --- browsers ---

# For Alice.
#   (not for Bob)
-   name: web
    action: allow
    user: alice
    note: >-
      #1 of those
      that she wants
- {name: mail, action: deny,
   dport: 25}
# The end.
"""
RULE = "- name: new\n  action: deny\n"


def cut(text: str) -> AnswersText:
    return read_answers(Source(0, "answers.yaml", text), NAMES)


def names(text: AnswersText) -> list[str]:
    return [rule.name for rule in text.rules]


def with_rule(text: AnswersText, rule: str) -> AnswersText:
    return text.with_block(text.block_of(rule, NAMES))


def problem_of(text: AnswersText, rule: str) -> tuple[int, int]:
    """Return where *rule* is said to be wrong."""
    with pytest.raises(RuleFileError) as refused:
        text.block_of(rule, NAMES)
    at = refused.value.problems[0].position
    return at.line, at.column


def layout_problem(text: str) -> str:
    with pytest.raises(RuleFileError) as refused:
        cut(text)
    return refused.value.problems[0].why


def test_a_file_that_nobody_changes_stays_as_it_is_to_the_letter() -> None:
    text = cut(BY_HAND)

    assert text.text == BY_HAND
    assert names(text) == ["office", "web", "mail"]


def test_a_new_rule_comes_last_and_leaves_all_others_as_they_are() -> None:
    text = with_rule(cut(BY_HAND), RULE)

    assert text.text == BY_HAND + RULE
    assert names(cut(text.text)) == ["office", "web", "mail", "new"]


def test_a_rule_goes_with_the_comments_right_above_it_and_no_others() -> None:
    text = cut(BY_HAND).without(1)

    kept, _, rest = BY_HAND.partition("# For Alice.\n")
    assert text.text == kept + rest[rest.index("- {name: mail") :]


def test_comments_that_are_no_rules_stay_when_the_rule_above_them_goes() -> None:
    text = cut(BY_HAND).without(0).without(0)

    assert "\n# --- browsers ---\n" in text.text
    assert "# The office" not in text.text
    assert cut(text.text).text == text.text


def test_the_last_rule_leaves_an_empty_list_with_all_the_comments_around_it() -> None:
    text = "# a: b\nrules: # of mine\n# c: d\n\n- name: only\n  action: deny\n# e: f\n"

    emptied = cut(text).without(0).text

    assert emptied == "# a: b\nrules: [] # of mine\n# c: d\n\n# e: f\n"
    assert with_rule(cut(emptied), RULE).text == emptied.replace(" []", "") + RULE


def test_a_moved_rule_takes_its_comments_along() -> None:
    text = cut(BY_HAND).moved(1, 0)

    assert names(cut(text.text)) == ["web", "office", "mail"]
    assert text.text.index("#   (not for Bob)\n-   name: web\n") < text.text.index("# The office")
    assert text.text.endswith("# The end.\n")
    assert sorted(text.text) == sorted(BY_HAND)


def test_another_rule_in_the_place_of_one_keeps_the_comments_unless_it_brings_its_own() -> None:
    text = cut(BY_HAND)

    plain = text.replaced(1, text.block_of("name: other\naction: deny", NAMES))
    own = text.replaced(1, text.block_of("# Mine now.\nname: other\naction: deny", NAMES))

    assert "#   (not for Bob)\n- name: other\n  action: deny\n- {name: mail" in plain.text
    assert "\n\n# Mine now.\n- name: other\n  action: deny\n- {name: mail" in own.text


def test_what_a_rule_is_edited_from_is_the_rule_without_dash_and_comments() -> None:
    text = cut(BY_HAND)
    _, web, mail = text.blocks

    assert web.text.startswith("name: web\naction: allow\nuser: alice\nnote: >-\n  #1 of")
    assert mail.text == "{name: mail, action: deny,\n dport: 25}\n"
    for each in text.blocks:
        again = text.block_of(each.text, NAMES)
        assert (again.rule.name, again.text) == (each.rule.name, each.text)


def test_the_line_of_a_rule_is_that_of_its_dash() -> None:
    text, lines = cut(BY_HAND), BY_HAND.split("\n")

    begun = [lines[text.line_of(at) - 1] for at in range(3)]

    assert begun == ["- name: office", "-   name: web", "- {name: mail, action: deny,"]


@pytest.mark.parametrize(
    "text",
    [
        EMPTY,
        "version: 1\n",
        "rules:  [ ]",
        '"rules": []\nversion: 1\n',
        "rules: []\ngroups:\n  a: [192.0.2.1]\n",
        "version: 1\r\nrules: []\r\n",
    ],
)
def test_a_file_without_rules_takes_one_wherever_its_list_stands(text: str) -> None:
    written = with_rule(cut(text), RULE).text

    assert names(cut(written)) == ["new"]
    assert cut(cut(written).without(0).text).rules == ()


def test_an_indented_list_stays_indented_and_new_rules_with_it() -> None:
    text = "rules:\n# all\n  # of them\n  - name: a\n    action: allow\n"

    assert with_rule(cut(text), "# c\n" + RULE).text == (
        f"{text}  # c\n  - name: new\n    action: deny\n"
    )


def test_a_rule_fits_into_a_file_that_was_indented_after_it_had_been_written() -> None:
    block = cut(EMPTY).block_of(RULE, NAMES)
    indented = cut("rules:\n    - name: a\n      action: allow\n")

    text = indented.with_block(block).replaced(0, block._replace(comments=0))

    assert text.text == "rules:\n" + "    - name: new\n      action: deny\n" * 2


def test_line_ends_of_other_systems_are_taken_for_line_ends() -> None:
    text = with_rule(cut(BY_HAND.replace("\n", "\r\n")), RULE.replace("\n", "\r\n"))

    assert text.text == BY_HAND + RULE


@pytest.mark.parametrize(
    "text",
    [
        "{version: 1, rules: [{name: a, action: deny}]}\n",
        "rules: [{name: a, action: deny}]\n",
        "rules: [\n]\n",
        "rules:\n  []\n",
        "rules:\n- name: a\n  action: deny\nversion: 1\n",
        "rules:\n-\n  name: a\n  action: deny\n",
        "rules:\n- # why\n  name: a\n  action: deny\n",
        "rules:\n- name: a\n  action: deny\n...\n",
        "rules:\n- name: a\n  action: &d deny\n- name: b\n  action: *d\n",
        'rules:\n- name: a\n  action: deny\n  note: "x\n# y"\n- name: b\n  action: deny\n',
    ],
)
def test_a_layout_that_cannot_be_cut_is_refused_and_it_is_said_how_to_lay_it_out(text: str) -> None:
    assert "line of its dash" in layout_problem(text)


def test_what_a_rule_file_may_say_and_answers_may_not_is_refused() -> None:
    assert "a rule file has version, groups, rules" in layout_problem("default: ask\nrules: []\n")


@pytest.mark.parametrize("hidden", ["\x1b", "\x85", "\u2028", "\ufeff", "\x00", "a\rb", "\ud800"])
def test_characters_that_hide_what_it_says_are_refused_even_in_comments(hidden: str) -> None:
    text = cut(EMPTY)

    assert problem_of(text, f"name: a\naction: deny # {hidden}")[0] == 2
    assert problem_of(text, f"# {hidden}\nname: a\naction: deny")[0] == 1
    assert layout_problem(f"# {hidden}\nrules: []\n")


@pytest.mark.parametrize(
    ("rule", "at"),
    [
        ("name: a\naction: dney\n", (2, 9)),
        ("- name: a\n  action: dney\n", (2, 11)),
        ("# c\n# d\nname: a\nprot: tcp\naction: deny\n", (4, 1)),
        ("\n\n  # c\n\n    name: a\n    action: dney\n", (6, 13)),
        ("  - name: a\n    action: dney\n", (2, 13)),
        ("name: a\r\naction: dney\r\n", (2, 9)),
        ("name: a\n\taction: deny\n", (2, 1)),
        ("name: a\naction: deny\nnote: x\ty\n", (3, 7)),
        ("name: 'a\naction: deny\n", (2, 13)),
        ("name: a\n", (1, 1)),
        ("- name: a\n  action: deny\n- name: a\n  action: deny\n", (3, 9)),
    ],
)
def test_a_problem_is_where_the_person_sees_it_in_the_text_that_was_edited(
    rule: str, at: tuple[int, int]
) -> None:
    for text in (cut(EMPTY), cut(BY_HAND), cut("rules:\n    - name: z\n      action: deny\n")):
        assert problem_of(text, rule) == at


@pytest.mark.parametrize(
    "rule",
    [
        "",
        "# nothing but words",
        "- name: a\n  action: deny\n- name: b\n  action: allow\n",
        "name: a\naction: deny\n- name: b\n  action: allow\n",
        "- name: a\n  action: deny\ngroups: {g: [192.0.2.1]}\n",
        "- name: a\n  action: deny\nversion: 1\n",
        "- name: a\n  action: deny\n---\n",
        "- name: a\n  action: deny\n...\n",
        "- name: a\n  action: deny\n...\n---\nrules: []\n",
        "name: a\naction: deny\n--- # x\n",
        "name: 'a\naction: deny",
        'name: a\naction: deny\nnote: "x',
        "name: &n a\naction: deny\nnote: *m",
        "name: a\naction: deny\nexe: *o",
        "name: a\naction: deny\n}",
        "name: a\naction: deny]",
        "%YAML 1.1\n---\nname: a\naction: deny",
        "- - name: a\n    action: deny\n",
        "just words",
    ],
)
def test_what_is_more_or_less_than_one_rule_is_refused(rule: str) -> None:
    text = cut("groups:\n  a: &o [192.0.2.1]\n" + EMPTY.replace("rules: []", RULES_BY_HAND))

    problem_of(text, rule)


RULES_BY_HAND = "rules:\n- name: z\n  action: deny\n"


@pytest.mark.parametrize(
    "rule",
    ["{name: a, action: deny}", "{name: a,\n action: deny}", "'name': a\n\"action\": deny # x\n#"],
)
def test_a_rule_in_another_style_is_one_too(rule: str) -> None:
    text = with_rule(with_rule(cut(RULES_BY_HAND), rule), RULE)

    assert names(cut(text.text)) == ["z", "a", "new"]


def test_what_stands_in_the_file_can_be_named_by_an_edited_rule() -> None:
    block = cut(BY_HAND).block_of("name: a\naction: deny\ndaddr: office\n", NAMES)

    assert block.rule.conditions == cut(BY_HAND).rules[0].conditions


WORDS = st.text("abc #'é—", min_size=1, max_size=8).map(str.strip).filter(bool)


@st.composite
def own_rules(draw: st.DrawFn, name: str) -> str:
    """Return a rule of this name, as a person might write it."""
    comments = draw(st.lists(WORDS, min_size=1, max_size=2))
    note = draw(WORDS).replace("'", "''")
    more = draw(st.sampled_from(["", "  daddr:\n    - 192.0.2.1\n", "  # port\n  dport: [1, 2]\n"]))
    above = "".join(f"# {each}\n" for each in comments)
    return f"{above}- name: {name}\n  action: deny\n  note: '{note}'\n{more}"


@given(st.data())
def test_whatever_is_done_to_single_rules_all_others_stay_byte_for_byte(
    data: st.DataObject,
) -> None:
    text, written = cut("# Top.\nrules: []\n"), list[str]()
    for number in range(data.draw(st.integers(1, 12))):
        places = st.integers(0, len(written) - 1)
        deeds = ["add", "replace", "remove", "move"] if written else ["add"]
        deed = data.draw(st.sampled_from(deeds))
        at = data.draw(places) if written else 0
        if deed == "remove":
            text = text.without(at)
            del written[at]
        elif deed == "move":
            to = data.draw(places)
            text = text.moved(at, to)
            written.insert(to, written.pop(at))
        else:
            rule = data.draw(own_rules(f"rule {number}"))
            block = text.block_of(rule, NAMES)
            text = text.with_block(block) if deed == "add" else text.replaced(at, block)
            at = len(written) if deed == "add" else at
            written[at : at + 1] = [rule]
        if data.draw(st.booleans()):
            text = cut(text.text)

    body = "\n" + "".join(written) if written else " []\n"
    assert text.text == f"# Top.\nrules:{body}"
    assert names(cut(text.text)) == names(text)
