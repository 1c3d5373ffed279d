"""``nfsnitch completions``: print what a shell needs to complete our command line.

The scripts are made from the parsers (`nfsnitch.commands.grammar`), so that a new command or option
is completed without a word here. Only what kind of thing a value is stands here.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import TextIO

from nfsnitch.commands.grammar import Command, Option, grammar
from nfsnitch.core.flow import BYPASS_NAMES, PROTOCOL_NAMES


class Kind(Enum):
    """What a value is, as far as a shell can complete it."""

    FILES = auto()
    DIRECTORIES = auto()
    USERS = auto()
    GROUPS = auto()
    WORDS = auto()
    ANY_TEXT = auto()


@dataclass(frozen=True, slots=True)
class _Values:
    kind: Kind
    words: tuple[str, ...] = ()


_BY_FLAG = {
    "--cgroup": _Values(Kind.DIRECTORIES),
    "--user": _Values(Kind.USERS),
    "--group": _Values(Kind.GROUPS),
    "--proto": _Values(Kind.WORDS, (*PROTOCOL_NAMES.values(), *BYPASS_NAMES.values())),
}
_BY_METAVAR = {
    "PATH": _Values(Kind.FILES),
    "FILE": _Values(Kind.FILES),
    "SOCKET": _Values(Kind.FILES),
    "DIRECTORY": _Values(Kind.DIRECTORIES),
    "DIR": _Values(Kind.DIRECTORIES),
}


def completions(shell: str, program: Command, out: TextIO) -> int:
    """Write the script for one of `SHELLS`; return the exit status."""
    out.writelines(f"{line}\n" for line in SHELLS[shell](program))
    return 0


def _values(option: Option) -> _Values:
    """Return what the values of *option* are."""
    if option.choices:
        return _Values(Kind.WORDS, option.choices)
    for flag in option.flags:
        if flag in _BY_FLAG:
            return _BY_FLAG[flag]
    return _BY_METAVAR.get(option.metavar, _Values(Kind.ANY_TEXT))


def _quoted(text: str) -> str:
    """Return *text* as one word of bash and zsh."""
    return "'" + text.replace("'", "'\\''") + "'"


def _bash(program: Command) -> Iterator[str]:
    paths = [f'" {" ".join(each.path)}"' for each in program.all() if each.path]
    yield "# bash completion for nfsnitch; made by: nfsnitch completions bash"
    yield "_nfsnitch() {"
    yield '    local current=${COMP_WORDS[COMP_CWORD]} option="" command="" word at'
    yield "    COMPREPLY=()"
    yield "    # bash takes --option=value apart at the =."
    yield "    [[ $current == = ]] && current=''"
    yield "    for ((at = 1; at < COMP_CWORD; at++)); do"
    yield "        word=${COMP_WORDS[at]}"
    yield '        case "$command $word" in'
    yield f"            {' | '.join(paths)}) command+=\" $word\" option='' ;;"
    yield "            *' -'*) option=$word ;;"
    yield "            *' =') ;;"
    yield "            *)"
    yield '                case "$command $option" in'
    for line in _bash_many(program):
        yield f"                    {line}"
    yield "                    *) option='' ;;"
    yield "                esac"
    yield "                ;;"
    yield "        esac"
    yield "    done"
    yield "    if [[ $current != -* ]]; then"
    yield '        case "$command $option" in'
    for command in program.all():
        for option in command.options:
            if option.metavar:
                yield f"            {_bash_pattern(command, option)})"
                yield f"                {_bash_reply(_values(option))}"
                yield "                return"
                yield "                ;;"
    yield "        esac"
    yield "    fi"
    yield "    case $command in"
    for command in program.all():
        yield f"        {_quoted(_path_text(command))})"
        yield "            if [[ $current == -* ]]; then"
        flags = tuple(flag for option in command.options for flag in option.flags)
        yield f"                {_bash_reply(_Values(Kind.WORDS, flags))}"
        yield "            else"
        yield f"                {_bash_reply(_place_values(command))}"
        yield "            fi"
        yield "            ;;"
    yield "    esac"
    yield "}"
    yield "complete -F _nfsnitch nfsnitch"


def _bash_many(program: Command) -> Iterator[str]:
    """Yield the case that keeps an option whose values go on, if there is one."""
    patterns = [
        _bash_pattern(command, option)
        for command in program.all()
        for option in command.options
        if option.takes_many
    ]
    if patterns:
        yield f"{' | '.join(patterns)}) ;;"


def _bash_pattern(command: Command, option: Option) -> str:
    return " | ".join(_quoted(f"{_path_text(command)} {flag}") for flag in option.flags)


def _bash_reply(values: _Values) -> str:
    action = {
        Kind.FILES: "-f",
        Kind.DIRECTORIES: "-d",
        Kind.USERS: "-u",
        Kind.GROUPS: "-g",
        Kind.WORDS: f"-W {_quoted(' '.join(values.words))}",
    }.get(values.kind)
    if action is None:
        return ":"
    reply = f'mapfile -t COMPREPLY < <(compgen {action} -- "$current")'
    if values.kind in {Kind.FILES, Kind.DIRECTORIES}:
        return f"compopt -o filenames; {reply}"
    return reply


def _path_text(command: Command) -> str:
    return "".join(f" {word}" for word in command.path)


def _place_values(command: Command) -> _Values:
    """Return what stands where no option does: commands, or the first operand."""
    if command.commands:
        return _Values(Kind.WORDS, tuple(each.path[-1] for each in command.commands))
    return _values(command.operands[0]) if command.operands else _Values(Kind.ANY_TEXT)


def _zsh(program: Command) -> Iterator[str]:
    yield "#compdef nfsnitch"
    yield "# zsh completion for nfsnitch; made by: nfsnitch completions zsh"
    for command in program.all():
        yield from _zsh_function(command)
    yield "if [[ $funcstack[1] == _nfsnitch ]]; then"
    yield '    _nfsnitch "$@"'
    yield "else"
    yield "    compdef _nfsnitch nfsnitch"
    yield "fi"


def _zsh_function(command: Command) -> Iterator[str]:
    specs = [spec for option in command.options for spec in _zsh_options(option)]
    if command.commands:
        specs += ["1:command:->command", "*::argument:->argument"]
    specs += (_zsh_operand(each) for each in command.operands)
    yield f"{_zsh_name(command)}() {{"
    if command.commands:
        yield "    local context state state_descr line"
        yield "    typeset -A opt_args"
        yield "    local -a commands=("
        for each in command.commands:
            yield f"        {_quoted(f'{each.path[-1]}:{each.purpose}')}"
        yield "    )"
    yield f"    _arguments {'-C ' if command.commands else ''}\\"
    for spec in specs[:-1]:
        yield f"        {_quoted(spec)} \\"
    yield from (f"        {_quoted(spec)}" for spec in specs[-1:])
    if command.commands:
        yield "    case $state in"
        yield "        command) _describe command commands ;;"
        yield "        argument)"
        yield "            case $words[1] in"
        for each in command.commands:
            yield f"                {each.path[-1]}) {_zsh_name(each)} ;;"
        yield "            esac"
        yield "            ;;"
        yield "    esac"
    yield "}"


def _zsh_name(command: Command) -> str:
    return "_".join(("_nfsnitch", *command.path)).replace("-", "_")


def _zsh_options(option: Option) -> Iterator[str]:
    """Yield a specification for each way to write the option (zshcompsys(1), `_arguments`)."""
    for flag in option.flags:
        if not option.metavar:
            yield f"{flag}[{_zsh_text(option.help)}]"
        else:
            value = f":{_zsh_text(option.metavar)}:{_zsh_action(_values(option))}"
            # The values go on until something begins with a dash.
            many = ":*-*" if option.takes_many else ""
            sign = "" if option.takes_many else "="
            yield f"*{flag}{sign}[{_zsh_text(option.help)}]{many}{value}"


def _zsh_operand(operand: Option) -> str:
    values = _zsh_action(_values(operand))
    return f"{'*' if operand.takes_many else ''}:{_zsh_text(operand.metavar)}:{values}"


def _zsh_text(text: str) -> str:
    return "".join(f"\\{each}" if each in "\\[]:" else each for each in text)


def _zsh_action(values: _Values) -> str:
    return {
        Kind.FILES: "_files",
        Kind.DIRECTORIES: "_files -/",
        Kind.USERS: "_users",
        Kind.GROUPS: "_groups",
        Kind.WORDS: f"({' '.join(values.words)})",
        Kind.ANY_TEXT: " ",
    }[values.kind]


def _fish(program: Command) -> Iterator[str]:
    paths = " ".join(_fish_quoted(_path_text(each)) for each in program.all() if each.path)
    yield "# fish completion for nfsnitch; made by: nfsnitch completions fish"
    yield "function __nfsnitch_command"
    yield "    set -l command"
    yield "    for word in (commandline -opc)[2..]"
    yield f'        if contains -- "$command $word" {paths}'
    yield '            set command "$command $word"'
    yield "        else if not string match -q -- '-*' $word"
    yield "            break"
    yield "        end"
    yield "    end"
    yield '    test "$command" = "$argv[1]"'
    yield "end"
    yield "complete -c nfsnitch -f"
    for command in program.all():
        condition = _fish_quoted(f"__nfsnitch_command '{_path_text(command)}'")
        begin = f"complete -c nfsnitch -n {condition}"
        for option in command.options:
            yield f"{begin} {_fish_option(option)}"
        for each in command.commands:
            yield f"{begin} -a {each.path[-1]} -d {_fish_quoted(each.purpose)}"
        for operand in command.operands[:1]:
            yield f"{begin} {_fish_values(_values(operand))}"


def _fish_option(option: Option) -> str:
    flags = " ".join(
        f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags
    )
    values = f" -r {_fish_values(_values(option))}" if option.metavar else ""
    return f"{flags}{values} -d {_fish_quoted(option.help)}"


def _fish_values(values: _Values) -> str:
    return {
        Kind.FILES: "-F",
        Kind.DIRECTORIES: "-f -a '(__fish_complete_directories)'",
        Kind.USERS: "-f -a '(__fish_complete_users)'",
        Kind.GROUPS: "-f -a '(__fish_complete_groups)'",
        Kind.WORDS: f"-f -a {_fish_quoted(' '.join(values.words))}",
        Kind.ANY_TEXT: "-f",
    }[values.kind]


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


SHELLS: dict[str, Callable[[Command], Iterator[str]]] = {"bash": _bash, "fish": _fish, "zsh": _zsh}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say what the command line understands."""
    parser.description = "Print a script by which a shell completes our command lines."
    parser.add_argument("shell", choices=tuple(SHELLS), help="the shell that is to read it")
    parser.set_defaults(command=_completions)


def _completions(options: argparse.Namespace) -> int:
    return completions(options.shell, grammar(options.whole_parser()), sys.stdout)
