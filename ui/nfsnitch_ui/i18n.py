"""What people read, in their language. English stands in the code and is what is looked up."""

from __future__ import annotations

import gettext
from collections.abc import Sequence
from pathlib import Path

DOMAIN = "nfsnitch_ui"
LOCALE_DIRECTORY = Path(__file__).with_name("locale")


class _Current:
    """The translations in use."""

    translations: gettext.NullTranslations = gettext.NullTranslations()


def use(languages: Sequence[str] | None = None) -> None:
    """Speak the first of *languages* that there is; None: what the environment asks for."""
    _Current.translations = gettext.translation(
        DOMAIN, LOCALE_DIRECTORY, languages=languages, fallback=True
    )


def _(text: str) -> str:
    """Return *text* in the language in use."""
    return _Current.translations.gettext(text)


def counted(one: str, many: str, number: int) -> str:
    """Return the form of a sentence that goes with *number*, which stands in it as ``{n}``."""
    return _Current.translations.ngettext(one, many, number).format(n=number)
