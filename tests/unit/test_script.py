"""Which script an interpreter runs, told by its arguments."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import process
from nfsnitch.core.owner import CWD_NOT_LOOKED_UP, Process
from nfsnitch.core.script import INTERPRETERS, absolute, interpreter_of, needs_cwd, script_of
from nfsnitch.core.unknown import Unknown


def runs(exe: str, line: str, cwd: str | Unknown = "/home/a") -> Process:
    args = (exe.rpartition("/")[2], *line.split())
    return replace(process(exe), args=args, cwd=cwd)


@pytest.mark.parametrize(
    ("exe", "line", "script"),
    [
        ("/usr/bin/python3.11", "/opt/x.py --flag", "/opt/x.py"),
        ("/usr/bin/python3.11", "-Bu -W ignore -Xdev x.py", "/home/a/x.py"),
        ("/usr/bin/python3.11", "-BW ignore ../x.py", "/home/x.py"),
        ("/usr/bin/python3.11", "--check-hash-based-pycs never ./x.py", "/home/a/x.py"),
        ("/usr/bin/python3.11", "-- -x.py", "/home/a/-x.py"),
        ("/usr/bin/pypy3", "x/", "/home/a/x"),
        ("/usr/bin/perl", "-w -I lib -Ilib2 -MJSON x.pl -e", "/home/a/x.pl"),
        ("/usr/bin/perl5.36", "-i.bak x.pl", "/home/a/x.pl"),
        ("/usr/bin/ruby3.1", "-r json -W0 --encoding utf-8 x.rb", "/home/a/x.rb"),
        ("/usr/bin/bash", "-euo pipefail /x.sh", "/x.sh"),
        ("/usr/bin/bash", "+x -O extglob --rcfile /f - x.sh", "/home/a/x.sh"),
        ("/usr/bin/dash", "/x.sh -c", "/x.sh"),
        ("/usr/bin/zsh", "x", "/home/a/x"),
        ("/usr/bin/node", "--inspect=1 -r ./m.js /app/x.js", "/app/x.js"),
        ("/usr/bin/php8.2", "-d memory_limit=1 x.php", "/home/a/x.php"),
        ("/usr/bin/lua5.4", "-l socket x.lua", "/home/a/x.lua"),
    ],
)
def test_the_first_argument_that_is_no_option_is_the_script(
    exe: str, line: str, script: str
) -> None:
    assert script_of(runs(exe, line)) == script


@pytest.mark.parametrize(
    ("exe", "line", "reason"),
    [
        ("/usr/bin/curl", "/x.py", "no interpreter"),
        ("/usr/bin/python3-config", "/x.py", "no interpreter"),
        ("/usr/bin/python3.11", "-c pass /x.py", "-c"),
        ("/usr/bin/python3.11", "-Im http.server", "-m"),
        ("/usr/bin/python3.11", "- /x.py", "standard input"),
        ("/usr/bin/python3.11", "", "no file"),
        ("/usr/bin/python3.11", "-W", "no file"),
        ("/usr/bin/python3.11", "--", "no file"),
        ("/usr/bin/perl", "-lne print /x", "-e"),
        ("/usr/bin/perl", "-S x.pl", "-S"),
        ("/usr/bin/bash", "-exc true /x.sh", "-c"),
        ("/usr/bin/sh", "-s /x.sh", "-s"),
        ("/usr/bin/sh", "/dev/fd/3", "open file"),
        ("/usr/bin/node", "--eval 1 /x.js", "--eval"),
        ("/usr/bin/php", "-r 1; /x.php", "-r"),
    ],
)
def test_without_a_file_on_the_command_line_the_reason_is_told(
    exe: str, line: str, reason: str
) -> None:
    found = script_of(runs(exe, line))
    assert isinstance(found, Unknown)
    assert reason in found.reason


def test_a_relative_name_needs_the_working_directory_and_an_absolute_one_does_not() -> None:
    relative = runs("/usr/bin/python3", "x.py", CWD_NOT_LOOKED_UP)
    assert needs_cwd(relative)
    assert script_of(relative) == CWD_NOT_LOOKED_UP
    assert not needs_cwd(runs("/usr/bin/python3", "/x.py", CWD_NOT_LOOKED_UP))
    assert not needs_cwd(runs("/usr/bin/python3", "-c x.py", CWD_NOT_LOOKED_UP))
    assert not needs_cwd(runs("/usr/bin/curl", "x.py", CWD_NOT_LOOKED_UP))


def test_what_is_not_known_of_the_process_is_not_known_of_the_script() -> None:
    hidden = Unknown("too long")
    assert script_of(replace(runs("/usr/bin/python3", "x.py"), args=hidden)) == hidden
    assert not needs_cwd(replace(runs("/usr/bin/python3", "x.py"), args=hidden))


def test_every_name_of_an_interpreter_belongs_to_one_alone() -> None:
    names = ("python3.11", "pypy3", "perl", "ruby3.1", "bash", "sh", "dash", "node", "php", "lua")
    for name in names:
        fitting = [each for each in INTERPRETERS.values() if each.file_name.fullmatch(name)]
        assert len(fitting) == 1
        assert interpreter_of(f"/usr/bin/{name}") is fitting[0]


_exes = st.sampled_from(
    [f"/usr/bin/{each}" for each in ("python3", "perl", "bash", "node", "ruby")]
)
_arguments = st.one_of(
    st.sampled_from(["-", "--", "-c", "-e", "+o", "-o", "--eval", "-W", "x.py", "/x", "..", ""]),
    st.text(max_size=6),
)


@given(_exes, st.lists(_arguments, max_size=6).map(tuple))
def test_any_arguments_give_an_absolute_plain_path_or_a_reason(
    exe: str, args: tuple[str, ...]
) -> None:
    found = script_of(replace(process(exe), args=("x", *args), cwd="/home/a"))
    if not isinstance(found, Unknown):
        assert found.startswith("/")
        assert not {"", ".", ".."} & set(found.split("/")[1:]) or found == "/"


@given(st.lists(st.sampled_from(["a", "b", ".", "..", ""])).map("/".join))
def test_a_plain_path_stays_as_it_is(path: str) -> None:
    plain = absolute(path, "/c/d")
    assert absolute(plain, "/other") == plain
