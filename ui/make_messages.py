"""Brings the translations up to date: what the code says, and the form in which it is looked up.

    python ui/make_messages.py            every .po gets what is new, loses what is gone; .mo anew
    python ui/make_messages.py --check    says whether anything would change, and changes nothing

No other tool is needed. A .po file is edited by hand, between two runs.
"""

from __future__ import annotations

import ast
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PACKAGE = Path(__file__).with_name("nfsnitch_ui")
LOCALE = PACKAGE / "locale"
_MAGIC = 0x950412DE
"""Of GNU's .mo files, in the byte order of whoever writes."""


@dataclass
class Message:
    """Something that the code says."""

    text: str
    many: str | None = None
    """The plural, where there is one."""
    forms: list[str] = field(default_factory=list)
    """The translation; of a plural, all its forms."""

    @property
    def is_translated(self) -> bool:
        """Whether nothing is missing."""
        return bool(self.forms) and all(self.forms)


def said_in(source: str) -> Iterator[Message]:
    """Return all that ``_("…")`` and ``counted("…", "…", n)`` say in some source text."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        texts = [each.value for each in node.args if isinstance(each, ast.Constant)]
        if node.func.id == "_" and texts:
            yield Message(str(texts[0]))
        elif node.func.id == "counted" and len(texts) >= 2:  # noqa: PLR2004  one and many
            yield Message(str(texts[0]), str(texts[1]))


def said_by_the_code(package: Path = PACKAGE) -> dict[str, Message]:
    """Return all that the package says, each once, in the order of its files."""
    found: dict[str, Message] = {}
    for path in sorted(package.rglob("*.py")):
        for message in said_in(path.read_text(encoding="utf-8")):
            known = found.setdefault(message.text, message)
            known.many = known.many or message.many
    return found


def read(po: str) -> tuple[Message, dict[str, Message]]:
    """Return the head and the messages of a .po file."""
    found: list[Message] = []
    part = ""
    for line in po.splitlines():
        word, _space, rest = line.partition(" ")
        if word == "msgid":
            found.append(Message(""))
        if word.startswith("msg"):
            part = word
        elif line.startswith('"'):
            rest = line
        else:
            continue
        _append(found[-1], part, ast.literal_eval(rest))
    head, *messages = found
    return head, {message.text: message for message in messages}


def write(head: Message, messages: dict[str, Message]) -> str:
    """Return a .po file."""
    blocks = [f'msgid ""\nmsgstr ""\n{_lines(head.forms[0])}\n']
    for message in messages.values():
        lines = [f"msgid {_quoted(message.text)}"]
        if message.many is None:
            lines.append(f"msgstr {_quoted(message.forms[0])}")
        else:
            lines.append(f"msgid_plural {_quoted(message.many)}")
            lines += [f"msgstr[{at}] {_quoted(form)}" for at, form in enumerate(message.forms)]
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def merged(old: dict[str, Message], said: dict[str, Message]) -> dict[str, Message]:
    """Return what the code says now, with the translations that there are."""
    result = {}
    for text, message in said.items():
        count = 1 if message.many is None else 2
        known = old.get(text)
        forms = known.forms if known is not None and len(known.forms) == count else [""] * count
        result[text] = Message(text, message.many, list(forms))
    return result


def compiled(head: Message, messages: dict[str, Message]) -> bytes:
    """Return the .mo file, as gettext(3) reads it."""
    pairs = {b"": head.forms[0].encode()}
    for message in messages.values():
        if message.is_translated:
            key = message.text if message.many is None else f"{message.text}\0{message.many}"
            pairs[key.encode()] = "\0".join(message.forms).encode()
    keys = sorted(pairs)
    at = 28 + 16 * len(keys)
    tables: list[list[int]] = [[], []]
    data = b""
    for table, texts in zip(tables, (keys, [pairs[key] for key in keys]), strict=True):
        for text in texts:
            table += [len(text), at + len(data)]
            data += text + b"\0"
    count = len(keys)
    numbers = [_MAGIC, 0, count, 28, 28 + 8 * count, 0, 0, *tables[0], *tables[1]]
    return struct.pack(f"<{len(numbers)}I", *numbers) + data


def main() -> int:
    """Do it for every language; return the exit status."""
    is_check, status = sys.argv[1:] == ["--check"], 0
    for path in sorted(LOCALE.glob("*/LC_MESSAGES/*.po")):
        old = path.read_text(encoding="utf-8")
        head, messages = read(old)
        messages = merged(messages, said_by_the_code())
        po, mo = write(head, messages), compiled(head, messages)
        missing = [each.text for each in messages.values() if not each.is_translated]
        binary = path.with_suffix(".mo")
        is_same = po == old and binary.exists() and binary.read_bytes() == mo
        if not is_check:
            path.write_text(po, encoding="utf-8")
            binary.write_bytes(mo)
        elif not is_same:
            status = 1
        state = "" if is_same else ", out of date" if is_check else ", written"
        print(f"{path.name}: {len(messages)} messages, {len(missing)} missing{state}")  # noqa: T201
    return status


def _append(entry: Message, part: str, text: str) -> None:
    if part == "msgid":
        entry.text += text
    elif part == "msgid_plural":
        entry.many = (entry.many or "") + text
    else:
        at = int(part[7:-1]) if "[" in part else 0
        entry.forms += [""] * (at + 1 - len(entry.forms))
        entry.forms[at] += text


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _lines(text: str) -> str:
    return "\n".join(_quoted(line) for line in text.splitlines(keepends=True))


if __name__ == "__main__":
    sys.exit(main())
