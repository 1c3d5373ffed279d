"""Everything that people read is there in German, and what is looked up is what was written."""

from __future__ import annotations

import gettext
import importlib.util
import re
import string
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from nfsnitch_ui import i18n
from nfsnitch_ui.i18n import DOMAIN, LOCALE_DIRECTORY, _, counted
from nfsnitch_ui.words import durations, waiting
from ui import examples

pytestmark = pytest.mark.ui

_SCRIPT = Path(__file__).parents[2] / "ui" / "make_messages.py"
_PO = LOCALE_DIRECTORY / "de" / "LC_MESSAGES" / f"{DOMAIN}.po"
_KEYS = re.compile(r"&(\w)")


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """Return the script that makes the files."""
    spec = importlib.util.spec_from_file_location("make_messages", _SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def german() -> Iterator[None]:
    """Speak German for a test."""
    i18n.use(["de"])
    yield
    i18n.use([])


def test_all_that_the_code_says_is_translated(tool: ModuleType) -> None:
    _head, messages = tool.read(_PO.read_text(encoding="utf-8"))
    said = tool.said_by_the_code()
    assert len(said) > 150
    assert list(messages) == list(said)
    assert [text for text, message in messages.items() if not message.is_translated] == []


def test_what_is_looked_up_is_what_was_written(tool: ModuleType) -> None:
    _head, messages = tool.read(_PO.read_text(encoding="utf-8"))
    found = gettext.translation(DOMAIN, LOCALE_DIRECTORY, languages=["de"])
    for text, message in messages.items():
        if message.many is None:
            assert found.gettext(text) == message.forms[0]
        else:
            for number, form in ((1, message.forms[0]), (2, message.forms[1])):
                assert found.ngettext(text, message.many, number) == form


def test_the_files_are_what_the_script_makes(tool: ModuleType) -> None:
    head, messages = tool.read(_PO.read_text(encoding="utf-8"))
    assert tool.write(head, messages) == _PO.read_text(encoding="utf-8")
    assert tool.compiled(head, messages) == _PO.with_suffix(".mo").read_bytes()


def test_translations_have_the_same_gaps_to_fill_and_a_key_where_there_was_one(
    tool: ModuleType,
) -> None:
    _head, messages = tool.read(_PO.read_text(encoding="utf-8"))
    for text, message in messages.items():
        for form in message.forms:
            assert _gaps(form) == _gaps(text)
            assert len(_KEYS.findall(form)) == len(_KEYS.findall(text))


def _gaps(text: str) -> set[str | None]:
    return {name for _text, name, _spec, _conversion in string.Formatter().parse(text)} - {None}


@pytest.mark.usefixtures("german")
def test_the_program_speaks_german() -> None:
    assert _("The firewall runs") == "Die Firewall läuft"
    assert counted("{n} rule", "{n} rules", 2) == "2 Regeln"
    assert waiting(examples.asked(1, flows=1)) == "1 Verbindung wartet"
    assert durations()["15m"] == "Für 15 Minuten"


@pytest.mark.parametrize("language", ["", "de"])
def test_no_two_buttons_of_a_question_have_the_same_key(language: str) -> None:
    i18n.use([language] if language else [])
    texts = [_("&Allow"), _("&Deny"), _("&Reject"), _("Dis&miss"), _("Ru&le")]
    texts += [_("&For"), _("&To"), _("&How long"), _("F&ull details")]
    texts.append(_("Deny &everything from {program}"))
    i18n.use([])
    keys = [key.casefold() for text in texts for key in _KEYS.findall(text)]
    assert len(keys) == len(texts)
    assert len(set(keys)) == len(keys)


def test_a_language_that_nobody_has_translated_falls_back_to_english() -> None:
    i18n.use(["tlh"])
    assert _("The firewall runs") == "The firewall runs"
    i18n.use([])
