"""Writes the man pages nfsnitch(8) and nfsnitch-rules(5) from the parsers and the tables of rules.

usage: python scripts/manual.py DIRECTORY

What the tables do not say stands here. The language is man(7), which groff and mandoc both read.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from nfsnitch import __version__, cli
from nfsnitch.adapters.rulefile import descriptions
from nfsnitch.adapters.rulefile.fields import RULE_FIELDS
from nfsnitch.adapters.rulefile.settings import GROUPS, SETTINGS
from nfsnitch.commands.grammar import Command, Option, grammar

_DATE = "2026-11-21"
_RULES_EXAMPLE = """\
default: ask
groups:
  office: [192.0.2.0/24, "2001:db8::/64"]
rules:
  - name: curl in the office
    action: allow
    exe: /usr/bin/curl
    proto: tcp
    daddr: office
    dport: [http, https]
  - name: no telnet
    action: reject
    dport: telnet
"""


def program_page(program: Command) -> Iterator[str]:
    """Yield the lines of nfsnitch(8)."""
    yield _title("NFSNITCH", 8)
    yield from _section("NAME", _text("nfsnitch - decides for each program whom it may connect to"))
    yield ".SH SYNOPSIS"
    for command in program.all():
        if not command.commands:
            yield from _synopsis(command)
    yield from _section(
        "DESCRIPTION",
        _text("nfsnitch is an outbound firewall that asks which program sends."),
        _text("The first packet of every new outbound flow is held in the kernel."),
        _text(
            "eBPF programs have recorded whose socket it comes from; the first rule that matches"
        ),
        _text("the program and the flow decides what becomes of it."),
        ".PP",
        _text("Rules are described in"),
        ".BR nfsnitch\\-rules (5).",
    )
    yield ".SH COMMANDS"
    for command in program.all():
        if command.path:
            yield f".SS {_quoted(' '.join(command.path))}"
            yield _text(command.description)
            yield from _options((*command.operands, *command.options))
    yield from _section(
        "OPTIONS",
        *_definitions({"-h, --help": "Say how a command is called; every command has it."}),
        *_options(program.options),
    )
    yield from _section(
        "EXIT STATUS",
        *_definitions(
            {
                "0": "All went well; of run: it was stopped by a signal.",
                "1": "It did not: a file with a mistake, or something that run needs is missing. "
                "With check --strict: there are warnings. With import and export: something could "
                "not be said.",
                "2": "The command line cannot be understood. With import and export: nothing could "
                "be read.",
            }
        ),
    )
    yield from _section(
        "SIGNALS",
        *_definitions({"SIGTERM, SIGINT": "run takes its ruleset away and ends."}),
    )
    yield from _section(
        "FILES",
        *_definitions(
            {
                "/etc/nfsnitch/rules.yaml": "The rules, where --rules does not say otherwise.",
                "/run/nfsnitch/": "Locks, one for each network namespace in which run enforces.",
            }
        ),
    )
    yield from _section(
        "EXAMPLES",
        _text("Look whether rules can be used, and what is likely not meant in them:"),
        *_literal("nfsnitch check --strict /etc/nfsnitch/rules.yaml"),
        ".PP",
        _text("Ask which rule would decide:"),
        *_literal(
            "nfsnitch explain --rules rules.yaml --exe /usr/bin/curl \\\n"
            "    --proto tcp --daddr 192.0.2.1 --dport 443"
        ),
        ".PP",
        _text("Try rules in a network namespace:"),
        *_literal(
            "ip netns add try\n"
            "nsenter --net=/run/netns/try nfsnitch run --rules rules.yaml --records -"
        ),
        ".PP",
        _text("Complete command lines in bash:"),
        *_literal("nfsnitch completions bash > /etc/bash_completion.d/nfsnitch"),
    )
    yield from _section(
        "SEE ALSO", ".BR nfsnitch\\-rules (5),", ".BR nft (8),", ".BR ip\\-netns (8)"
    )


def rules_page() -> Iterator[str]:
    """Yield the lines of nfsnitch-rules(5)."""
    yield _title("NFSNITCH-RULES", 5)
    yield from _section("NAME", _text("nfsnitch-rules - rule files of nfsnitch"))
    yield from _section(
        "DESCRIPTION",
        _text(
            "A rule file is YAML. The first rule that matches decides; the rest is not looked at."
        ),
        _text("All fields of a rule must match; a rule without fields matches everything."),
        ".PP",
        _text(
            "Several files, and the files *.yaml of directories in the order of their names, are"
        ),
        _text(
            "taken together: rules follow each other, groups are shared, and a setting may stand"
        ),
        _text("in several files if it says the same in each."),
        _text("A file with a mistake is refused whole."),
        ".PP",
        _text("Whether a file can be used, and what in it is likely not meant, is told by"),
        '.BR "nfsnitch check" ;',
        _text("its JSON Schema, for editors, is printed by"),
        '.BR "nfsnitch schema" .',
    )
    yield ".SH TOP LEVEL"
    settings = {name: descriptions.SETTINGS[name] for name in SETTINGS}
    yield from _definitions({**settings, **descriptions.TOP_LEVEL})
    for group, mapping in GROUPS.items():
        yield f".SS {group}"
        yield from _definitions({name: descriptions.SETTINGS[name] for name in mapping.settings})
    yield ".SS groups"
    yield _text("A group is addresses, or a mapping with one of these words:")
    yield from _definitions(descriptions.GROUPS)
    yield ".SH RULES"
    yield _text("Every rule has a name and an action; it may have the others.")
    yield from _definitions(descriptions.HEAD)
    yield ".SH FIELDS"
    yield _text("A field takes a value, a list (any of them), or")
    yield ".B not:"
    yield _text(
        "with a value or a list (none of them). What is not known is matched by no field, nor"
    )
    yield _text("by not:, but for owner.")
    for field in RULE_FIELDS.values():
        yield ".TP"
        yield f".B {_text(field.name)}"
        yield _text(descriptions.FIELDS[field.name])
        yield ".br"
        yield _text(f"Takes {field.takes}.")
    yield from _section("EXAMPLE", *_literal(_RULES_EXAMPLE.rstrip("\n")))
    yield from _section("SEE ALSO", ".BR nfsnitch (8)")


def _title(name: str, section: int) -> str:
    return f'.TH {_text(name)} {section} {_DATE} "nfsnitch {__version__}"\n.nh\n.ad l'


def _section(name: str, *lines: str) -> Iterator[str]:
    yield f".SH {name}"
    yield from lines


def _synopsis(command: Command) -> Iterator[str]:
    """Yield the line of a command: what must be given stands without brackets."""
    yield ".HP"
    words = [f"\\fBnfsnitch {_text(' '.join(command.path))}\\fR"]
    words += (_optional(option) for option in command.options if "--help" not in option.flags)
    words += (_written(operand) for operand in command.operands)
    yield "\n".join(words)


def _optional(option: Option) -> str:
    # A space that does not break: an option and its value stay together.
    return f"[{_flags(option.flags[-1:], option).replace(' ', chr(92) + ' ')}]"


def _written(operand: Option) -> str:
    return f"\\fI{_text(operand.metavar)}\\fR{_text('…') if operand.takes_many else ''}"


def _flags(flags: Iterable[str], option: Option) -> str:
    names = ", ".join(f"\\fB{_text(flag)}\\fR" for flag in flags)
    return f"{names} {_written(option)}" if option.metavar else names


def _options(options: Iterable[Option]) -> Iterator[str]:
    for option in options:
        if "--help" in option.flags:
            continue
        yield ".TP"
        yield _flags(option.flags, option) if option.flags else _written(option)
        yield _text(option.help)


def _definitions(definitions: Mapping[str, str]) -> Iterator[str]:
    for term, text in definitions.items():
        yield ".TP"
        yield f".B {_text(term)}"
        yield _text(text)


def _literal(text: str) -> Iterator[str]:
    yield ".RS 4"
    yield ".nf"
    yield from map(_text, text.split("\n"))
    yield ".fi"
    yield ".RE"


def _text(text: str) -> str:
    """Return *text* as roff that prints it as it is."""
    text = (
        text.replace("\\", "\\e")
        .replace("-", "\\-")
        .replace("'", "\\(aq")
        .replace("…", "\\[u2026]")
    )
    return f"\\&{text}" if text.startswith(".") else text


def _quoted(text: str) -> str:
    return f'"{_text(text)}"'


def main(directory: Path) -> None:
    """Write both pages into *directory*."""
    pages = {
        "nfsnitch.8": program_page(grammar(cli.command_parser())),
        "nfsnitch-rules.5": rules_page(),
    }
    notice = '.\\" Made by scripts/manual.py (make generated); do not edit.'
    for name, lines in pages.items():
        (directory / name).write_text("\n".join([notice, *lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
