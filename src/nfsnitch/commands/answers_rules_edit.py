"""``nfsnitch rules edit`` and ``add``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple, cast

from nfsnitch.commands.answers_rules_list import name_meant, rows_of, tell_problem
from nfsnitch.commands.asking import INTERRUPTED, asking, daemon_of, say, write_line
from nfsnitch.control_client import Client, ControlError
from nfsnitch.core.text import shown
from nfsnitch.prompt.editor import Draft, EditorError
from nfsnitch.prompt.rule_pane import problem_line
from nfsnitch.protocol import (
    MAX_REQUEST_BYTES,
    AddRuleRequest,
    ChangeRuleRequest,
    Checked,
    RuleKind,
    RuleSet,
)

_REFUSED = 1
_SET_OR_CHECKED = cast("type[RuleSet | Checked]", RuleSet | Checked)
"""Either is an answer; `isinstance` takes a union for what mypy wants a class for."""


class _Rule(NamedTuple):
    """A rule to edit."""

    name: str
    text: str


def add_rule(options: argparse.Namespace) -> int:
    """Have the daemon take a rule out of a file; return the exit status."""
    try:
        text = _read(options.file)
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        say(f"{shown(options.file)}: {reason}")
        return _REFUSED

    def add(client: Client) -> int:
        done = client.ask(AddRuleRequest(text, options.duration), _SET_OR_CHECKED)
        if isinstance(done, RuleSet):
            write_line(f"added '{shown(done.name)}'")
            return tell_problem(done)
        for each in done.problems:
            say(f"{shown(options.file)}:{problem_line(each)}")
        return _REFUSED

    return asking(options, add)


def edit_rule(options: argparse.Namespace) -> int:
    """Let a person edit a rule until it is right, or they have enough; return the exit status."""
    try:
        with Client(daemon_of(options).path) as client:
            rule = _rule_named(client, options.name)
        draft = Draft(rule.text)
        return _Editing(daemon_of(options).path, rule, draft).until_done()
    except ControlError as error:
        say(str(error))
        return error.exit_status
    except OSError as error:
        say(f"nothing can be edited: {error.strerror or error}")
        return _REFUSED
    except KeyboardInterrupt:
        return INTERRUPTED


class _Editing:
    """One person at one rule.

    Each request has a connection of its own: who edits says nothing for longer than the daemon
    waits.
    """

    def __init__(self, path: Path, rule: _Rule, draft: Draft) -> None:
        self._path, self._rule, self._draft = path, rule, draft

    def until_done(self) -> int:
        """Edit, and try again while something is wrong; return the exit status."""
        text = self._rule.text
        try:
            while True:
                before, text = text, self._draft.edit()
                if text == self._rule.text:
                    self._draft.forget()
                    write_line("nothing has changed")
                    return 0
                problems = self._change(text)
                if problems is None:
                    self._draft.forget()
                    return 0
                for each in problems:
                    say(problem_line(each))
                if text == before or not _wants_to_edit_again():
                    return self._keep(_REFUSED)
        except EditorError as error:
            say(str(error))
            return self._keep(_REFUSED)
        except ControlError as error:
            say(str(error))
            return self._keep(error.exit_status)
        except KeyboardInterrupt:
            return self._keep(INTERRUPTED)

    def _change(self, text: str) -> tuple[dict[str, Any], ...] | None:
        """Have the daemon take the rule; return what is wrong with it, None if nothing."""
        with Client(self._path) as client:
            done = client.ask(ChangeRuleRequest(self._rule.name, text), _SET_OR_CHECKED)
        if isinstance(done, Checked):
            return done.problems
        write_line(f"'{shown(done.name)}' is in force as you wrote it")
        tell_problem(done)
        return None

    def _keep(self, status: int) -> int:
        say(f"not changed; your text is in {shown(os.fspath(self._draft.path))}")
        return status


def _wants_to_edit_again() -> bool:
    if not sys.stdin.isatty():
        return False
    while True:
        sys.stderr.write("edit again? [Y/n] ")
        sys.stderr.flush()
        answer = sys.stdin.readline()
        if answer.strip().lower() in {"y", "yes", ""}:
            return answer != ""
        if answer.strip().lower() in {"n", "no"}:
            return False


def _rule_named(client: Client, name: str) -> _Rule:
    meant = name_meant(client, name)
    for kind in (RuleKind.LASTING, RuleKind.TEMPORARY, RuleKind.FILE):
        for row in rows_of(client, kind):
            if row.get("name") == meant:
                return _editable(kind, row)
    raise ControlError(f"there is no rule '{shown(name)}'; see nfsnitch rules list")


def _editable(kind: RuleKind, row: Any) -> _Rule:  # noqa: ANN401  JSON
    name = str(row.get("name"))
    if kind is RuleKind.FILE:
        where = shown(str(row.get("origin") or "a rule file"))
        raise ControlError(f"'{shown(name)}' stands in {where}: edit it there")
    if not isinstance(row.get("rule"), str):
        raise ControlError(f"'{shown(name)}' cannot be shown, and so not be edited")
    return _Rule(name, row["rule"])


def _read(file: str) -> str:
    if file == "-":
        raw = sys.stdin.buffer.read(MAX_REQUEST_BYTES)
    else:
        with Path(file).open("rb") as opened:
            raw = opened.read(MAX_REQUEST_BYTES)
    return raw.decode("utf-8")
