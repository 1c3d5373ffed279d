"""Who may see what is asked, who may answer, and who neither: real users of real groups."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from answerer import Answerer
from builders import WriteRules
from daemon_asks import NFSNITCH, ask
from nfsnitch.lab.firewall import Firewall, having
from nfsnitch.lab.process import Child, EndedError, same_modules
from nfsnitch.lab.programs import build_program
from nfsnitch.lab.services import ECHO_PORT
from nfsnitch.lab.world import World
from nfsnitch.protocol import (
    AddRuleRequest,
    Answered,
    AnswerRequest,
    Asked,
    Asking,
    ChangeRuleRequest,
    Checked,
    CheckRuleRequest,
    Connections,
    ConnectionsRequest,
    Ended,
    History,
    HistoryRequest,
    ModeRequest,
    ModeSet,
    MoveRuleRequest,
    Preview,
    PreviewRequest,
    QuestionsRequest,
    Refused,
    ReloadRequest,
    Request,
    Revoked,
    RevokeRequest,
    Rules,
    RuleSet,
    RulesRequest,
    Silenced,
    SilencedRequest,
    StopRequest,
    socket_path,
)
from other_user import ANSWERERS, ANSWERERS_GID, SOMEBODY, WATCHERS, WATCHERS_GID, OtherUser

pytestmark = [
    pytest.mark.root,
    pytest.mark.netns,
    pytest.mark.bpf,
    pytest.mark.usefixtures("services"),
]

RULES = "default: ask\nunanswered: deny\ntimeouts: {ask: 10m}\n"
GROUPS = ("--group", WATCHERS, "--answer-group", ANSWERERS)
FOR_ROOT = ["reload is for root alone", "stop is for root alone"]
ALLOW_ALL = "name: mine\naction: allow\n"
CROWD = """
import os, socket, sys
path, gid, users, each = sys.argv[1], *map(int, sys.argv[2:])
os.setgroups([gid])
clients = []
for uid in range(60_000, 60_000 + users):
    os.setresuid(uid, uid, 0)
    for _ in range(each):
        clients.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        clients[-1].connect(path)
    os.setresuid(0, 0, 0)
let_in = 0
for client in clients:
    try:
        client.sendall(b'{"v":1,"type":"status"}\\n')
    except BrokenPipeError:
        pass
    let_in += b'"status"' in client.makefile('rb').readline()
print(let_in, flush=True)
sys.stdin.read()
"""


def connects(world: World) -> Child:
    """Start a program that tries one connection."""
    return world.spawn([str(build_program("one_connect")), "192.0.2.1", str(ECHO_PORT)])


def yes_to(number: int) -> AnswerRequest:
    """Return the answer that lets it go, once."""
    return AnswerRequest((number,), "allow", "program", "address-port", "once", None)


def as_somebody(world: World, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user who is in no group that matters."""
    return subprocess.run(
        [*NFSNITCH, *argv, "--netns", str(world.netns_inode("client"))],
        user=SOMEBODY,
        group=SOMEBODY,
        extra_groups=[],
        env={"PATH": os.defpath, **same_modules()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_who_is_in_neither_group_cannot_connect_and_is_told_who_may(
    world: World, rules: WriteRules
) -> None:
    with Firewall(world, [rules(RULES)], extra=GROUPS), OtherUser(world, [7]) as outsider:
        path = Path(socket_path(world.netns_inode("client")))
        by_file = outsider.refused_by_file()
        by_command = as_somebody(world, "status")
        path.chmod(0o666)
        with OtherUser(world, [7]) as past_the_file:
            by_daemon = past_the_file.hear()

    assert by_file == "Permission denied"
    assert by_command.returncode == 4
    assert by_command.stderr == (
        f"nfsnitch: only root and members of the groups {WATCHERS} and {ANSWERERS} may use {path}\n"
    )
    assert isinstance(by_daemon, Refused)
    assert (by_daemon.why, by_daemon.text) == (
        "not-allowed",
        f"user {SOMEBODY} is neither root nor a member of a group that may watch or answer",
    )


def test_who_may_watch_sees_everything_and_changes_nothing(world: World, rules: WriteRules) -> None:
    with (
        Firewall(world, [rules(RULES)], extra=GROUPS) as firewall,
        OtherUser(world, [7, WATCHERS_GID]) as watcher,
        OtherUser(world, [7, WATCHERS_GID]) as stream,
        Answerer(world) as root,
    ):
        root.ask(AddRuleRequest("name: kept\naction: deny\ndport: 9\n", "forever"), RuleSet)
        asking = stream.ask(QuestionsRequest(), Asking)
        child = connects(world)
        number = stream.hear_of(Asked).number
        assert root.question().number == number
        seen = [
            watcher.ask(PreviewRequest(number, "allow", "user", "port", "forever"), Preview),
            watcher.ask(SilencedRequest(0), Silenced),
            watcher.ask(RulesRequest("lasting", 0), Rules),
            watcher.ask(HistoryRequest(None), History),
            watcher.ask(ConnectionsRequest(), Connections),
            watcher.ask(CheckRuleRequest(ALLOW_ALL), Checked),
        ]
        changes: list[Request] = [
            yes_to(number),
            AnswerRequest((number,), "dismiss", "", "", "once", None),
            ModeRequest("allow-silently", None),
            AddRuleRequest(ALLOW_ALL, "restart"),
            ChangeRuleRequest("kept", ALLOW_ALL),
            MoveRuleRequest("kept", 0),
            RevokeRequest("kept"),
        ]
        refused = {each.type: watcher.ask(each, Refused) for each in changes}
        controls = [watcher.ask(each, Refused) for each in (ReloadRequest(), StopRequest())]
        status, listed = ask(world), root.ask(RulesRequest("lasting", 0), Rules)
        still_waits = not child.has_ended()
        root.answer(number)
        ended = stream.hear_of(Ended)
        done = child.finish(20)
        record = firewall.wait_for_record(having(pid=child.pid))

    assert asking.rights == ("watch",)
    assert isinstance(seen[0], Preview)
    assert f"name: user root to {ECHO_PORT}/tcp anywhere" in seen[0].rule
    assert {(each.why, each.text) for name, each in refused.items()} == {
        (
            "not-allowed",
            f"{name} is for root and members of the group that may answer; you may watch",
        )
        for name in refused
    }
    assert {each.text for each in controls} == {
        "reload is for root alone",
        "stop is for root alone",
    }
    assert still_waits
    assert (status.questions, status.mode, status.temporary_answers) == (1, "ask", 0)
    assert [row["name"] for row in listed.rows] == ["kept"]
    assert (ended.outcome, ended.uid) == ("answered", 0)
    assert done.returncode == 0
    assert record["reason"] == "answered"


def test_who_may_answer_needs_no_other_group_and_may_do_all_but_control(
    world: World, rules: WriteRules
) -> None:
    with (
        Firewall(world, [rules(RULES)], extra=GROUPS) as firewall,
        OtherUser(world, [ANSWERERS_GID]) as person,
        OtherUser(world, [ANSWERERS_GID]) as stream,
    ):
        asking = stream.ask(QuestionsRequest(), Asking)
        child = connects(world)
        answered = person.ask(yes_to(stream.hear_of(Asked).number), Answered)
        ended = stream.hear_of(Ended)
        done = child.finish(20)
        record = firewall.wait_for_record(having(pid=child.pid))
        made = person.ask(AddRuleRequest("name: mine\naction: deny\n", "forever"), RuleSet)
        changed = person.ask(ChangeRuleRequest("mine", ALLOW_ALL), RuleSet)
        moved = person.ask(MoveRuleRequest("mine", 0), RuleSet)
        passes = connects(world).finish(20)
        revoked = person.ask(RevokeRequest("mine"), Revoked)
        mode = person.ask(ModeRequest("deny-silently", 60.0), ModeSet)
        controls = [person.ask(each, Refused) for each in (ReloadRequest(), StopRequest())]
        status = ask(world)

    assert asking.rights == ("answer", "watch")
    assert (len(answered.taken), ended.outcome, ended.uid) == (1, "answered", SOMEBODY)
    assert (done.returncode, record["reason"]) == (0, "answered")
    assert [made.problem, changed.problem, moved.problem] == [None] * 3
    assert passes.returncode == 0
    assert revoked.name == "mine"
    assert mode.mode == status.mode == "deny-silently"
    assert {each.text for each in controls} == {
        "reload is for root alone",
        "stop is for root alone",
    }


@pytest.mark.parametrize(
    "options",
    [("--group", WATCHERS, "--answer-group", WATCHERS), ("--answer-group", WATCHERS)],
    ids=["both the same", "answer group alone"],
)
def test_one_group_may_have_all_these_rights(
    world: World, rules: WriteRules, options: tuple[str, ...]
) -> None:
    with (
        Firewall(world, [rules(RULES)], extra=options),
        OtherUser(world, [WATCHERS_GID]) as person,
        OtherUser(world, [ANSWERERS_GID]) as outsider,
    ):
        status = Path(socket_path(world.netns_inode("client"))).stat()
        rights = person.ask(QuestionsRequest(), Asking).rights
        refused = outsider.refused_by_file()

    assert (status.st_gid, stat.S_IMODE(status.st_mode)) == (WATCHERS_GID, 0o660)
    assert rights == ("answer", "watch")
    assert refused == "Permission denied"


def test_root_may_do_everything(world: World, rules: WriteRules) -> None:
    with Firewall(world, [rules(RULES)], extra=GROUPS), Answerer(world) as root:
        assert root.asking.rights == ("answer", "control", "watch")


def test_an_answer_group_that_is_not_there_stops_the_start_and_leaves_no_rule(
    world: World, rules: WriteRules
) -> None:
    firewall = Firewall(world, [rules(RULES)], extra=["--answer-group", "no-such-group"])
    with pytest.raises(EndedError, match="--answer-group: there is no group 'no-such-group'"):
        firewall.start()

    assert world.run(["nft", "list", "ruleset"]).stdout == ""


def test_those_who_only_watch_cannot_keep_out_who_answers(world: World, rules: WriteRules) -> None:
    path = socket_path(world.netns_inode("client"))
    with (
        Firewall(world, [rules(RULES)], extra=GROUPS),
        subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", CROWD, path, str(WATCHERS_GID), "4", "16"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as crowd,
    ):
        assert crowd.stdout is not None
        let_in = crowd.stdout.readline()
        with OtherUser(world, [ANSWERERS_GID]) as person:
            rights = person.ask(QuestionsRequest(), Asking).rights
        crowd.kill()

    assert let_in == "32\n"
    assert rights == ("answer", "watch")
