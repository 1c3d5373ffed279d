"""The file that an interpreter runs, as far as the command line tells.

A kernel knows the program that a process runs, and for a script that is its interpreter. Which
script it runs stands nowhere but in the arguments, and those are the process's own claim: whoever
starts ``/usr/bin/python3`` can give it any arguments, and make it run something else all the same
(by the environment, by an option, by writing over its own arguments). So this tells programs apart
that mean no harm, and no others.

The path is made absolute and lexically plain (no ``//``, ``.``, ``..``); symlinks in it stay.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from nfsnitch.core.owner import Process
from nfsnitch.core.text import shown
from nfsnitch.core.unknown import Unknown

_CACHED = 128
"""Entries of each cache: arguments can be long."""
_NO_INTERPRETER = Unknown("the program is no interpreter that is known here")
_NO_FILE = Unknown("the interpreter was given no file to run")
_STDIN = Unknown("the interpreter reads what it runs from its standard input")
_OPEN_FILE = Unknown("the interpreter was given an open file, not a name")
_NO_NAME = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")


class Interpreter(NamedTuple):
    """How one family of interpreters reads its command line."""

    file_name: re.Pattern[str]
    """Of its program file."""
    no_file: str = ""
    """Options of one letter after which what is run is not (or not simply) the file named next."""
    value: str = ""
    """Options of one letter that take the rest of the argument, or else the next argument."""
    attached: str = ""
    """Options of one letter that take the rest of the argument."""
    later: str = ""
    """Options of one letter that take the next argument, while the letters go on."""
    long_no_file: frozenset[str] = frozenset()
    long_value: frozenset[str] = frozenset()
    """Long options that take the next argument unless they have a ``=``."""
    is_shell: bool = False
    """``+`` begins options, too, and ``-`` ends them."""


def _named(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII)


_VERSION = r"(?:-?[0-9]+(?:\.[0-9]+)*)?"

INTERPRETERS = {
    "python": Interpreter(
        _named(rf"(?:python|pypy){_VERSION}"),
        no_file="cm",
        value="WXQ",
        long_value=frozenset({"--check-hash-based-pycs"}),
    ),
    "perl": Interpreter(_named(rf"perl{_VERSION}"), no_file="eES", value="I", attached="CDFMVdimx"),
    "ruby": Interpreter(
        _named(rf"ruby{_VERSION}"),
        no_file="eSCX",
        value="IrE",
        attached="FKTWix",
        long_value=frozenset(
            {"--encoding", "--external-encoding", "--internal-encoding", "--enable", "--disable"}
        ),
    ),
    "sh": Interpreter(
        _named(rf"(?:r?ba|da|a|z|k|mk|ya)?sh{_VERSION}"),
        no_file="cs",
        later="oO",
        long_value=frozenset({"--rcfile", "--init-file"}),
        is_shell=True,
    ),
    "node": Interpreter(
        _named(rf"node(?:js)?{_VERSION}"),
        no_file="ep",
        value="rC",
        long_no_file=frozenset({"--eval", "--print", "--test", "--run"}),
        long_value=frozenset(
            {
                *("--require", "--import", "--loader", "--experimental-loader", "--conditions"),
                *("--env-file", "--title", "--input-type", "--icu-data-dir", "--openssl-config"),
            }
        ),
    ),
    "php": Interpreter(
        _named(rf"php{_VERSION}"),
        no_file="rBRFESfa",
        value="cdztg",
        long_no_file=frozenset({"--run", "--file", "--server", "--interactive"}),
        long_value=frozenset({"--php-ini", "--define", "--zend-extension"}),
    ),
    "lua": Interpreter(_named(rf"lua(?:jit)?{_VERSION}"), value="elj", attached="O"),
}
"""The interpreters that are known, each with the options of its manual page that matter here."""


@lru_cache(_CACHED)
def interpreter_of(exe: str) -> Interpreter | None:
    """Return how the program at path *exe* reads its command line; None if it is none of ours."""
    name = exe.rpartition("/")[2]
    for interpreter in INTERPRETERS.values():
        if interpreter.file_name.fullmatch(name) is not None:
            return interpreter
    return None


def script_of(process: Process) -> str | Unknown:
    """Return the absolute path of the script that *process* runs, by its own account."""
    exe = process.exe.path
    args = process.args
    if isinstance(exe, Unknown):
        return exe
    if interpreter_of(exe) is None:
        return _NO_INTERPRETER
    return args if isinstance(args, Unknown) else _script(exe, args, process.cwd)


def needs_cwd(process: Process) -> bool:
    """Whether `script_of` could tell the script, if only it knew the working directory."""
    exe, args = process.exe.path, process.args
    if isinstance(exe, Unknown) or isinstance(args, Unknown) or interpreter_of(exe) is None:
        return False
    argument = _argument(exe, args)
    return not isinstance(argument, Unknown) and not argument.startswith("/")


def absolute(path: str, cwd: str) -> str:
    """Return *path*, seen from the directory *cwd*, without ``//``, ``.`` and ``..``."""
    kept: list[str] = []
    for part in (path if path.startswith("/") else f"{cwd}/{path}").split("/"):
        if part == "..":
            del kept[-1:]
        elif part not in {"", "."}:
            kept.append(part)
    return f"/{'/'.join(kept)}"


@lru_cache(_CACHED)
def _script(exe: str, args: tuple[str, ...], cwd: str | Unknown) -> str | Unknown:
    argument = _argument(exe, args)
    if isinstance(argument, Unknown):
        return argument
    if argument.startswith("/"):
        return absolute(argument, "/")
    return cwd if isinstance(cwd, Unknown) else absolute(argument, cwd)


@lru_cache(_CACHED)
def _argument(exe: str, args: tuple[str, ...]) -> str | Unknown:
    """Return the argument that names the script."""
    interpreter = interpreter_of(exe)
    found = _NO_INTERPRETER if interpreter is None else _first_file(interpreter, args[1:])
    if isinstance(found, Unknown):
        return found
    if not found:
        return _NO_FILE
    return _OPEN_FILE if found.startswith(_NO_NAME) else found


def _first_file(interpreter: Interpreter, args: tuple[str, ...]) -> str | Unknown:
    at = 0
    while at < len(args):
        argument = args[at]
        if argument == "--" or (argument == "-" and interpreter.is_shell):
            return args[at + 1] if at + 1 < len(args) else _NO_FILE
        if argument == "-":
            return _STDIN
        if not _is_option(interpreter, argument):
            return argument
        taken = _taken_by(interpreter, argument)
        if isinstance(taken, Unknown):
            return taken
        at += 1 + taken
    return _NO_FILE


def _is_option(interpreter: Interpreter, argument: str) -> bool:
    return argument.startswith("-") or (interpreter.is_shell and argument.startswith("+"))


def _taken_by(interpreter: Interpreter, option: str) -> int | Unknown:
    """Return how many of the arguments after *option* belong to it."""
    if option.startswith("--"):
        name, has_value, _ = option.partition("=")
        if name in interpreter.long_no_file:
            return _other_way(name)
        return int(name in interpreter.long_value and not has_value)
    taken = 0
    for at, letter in enumerate(option[1:], start=2):
        if letter in interpreter.no_file:
            return _other_way(f"-{letter}")
        if letter in interpreter.value:
            return taken + int(at == len(option))
        if letter in interpreter.attached:
            break
        taken += letter in interpreter.later
    return taken


def _other_way(option: str) -> Unknown:
    return Unknown(f"its option {shown(option)} says what is run in another way")
