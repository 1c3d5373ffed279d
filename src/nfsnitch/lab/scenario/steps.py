"""The steps of a scenario, done one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from nfsnitch.control_client import ControlError
from nfsnitch.core.text import shown
from nfsnitch.lab.answerer import Answerer
from nfsnitch.lab.scenario import expecting, values
from nfsnitch.lab.scenario.model import (
    Answer,
    ClockJump,
    Command,
    Daemon,
    ExpectArrived,
    ExpectCounter,
    ExpectEnd,
    ExpectRecord,
    FirewallDeed,
    NewRules,
    Run,
    Send,
    Step,
)
from nfsnitch.lab.scenario.outcomes import UnmetError
from nfsnitch.lab.scenario.scene import Scene, seconds
from nfsnitch.lab.scenario.shipping import send
from nfsnitch.lab.waiting import PATIENCE, LabError, TimeIsOverError
from nfsnitch.protocol import Asked

_COMMAND_TIMEOUT_S = 60.0


def do(scene: Scene, step: Step) -> None:
    """Do one step of the scenario.

    Raises:
        UnmetError: an expectation was not met.
        LabError: it could not be done.

    """
    if type(step) not in _LOOKS:
        scene.is_settled = False
    _DOINGS[type(step)](scene, step)


def _run(scene: Scene, step: Run) -> None:
    name = step.name or step.program.lstrip("$")
    child = scene.start(step)
    if step.background:
        return
    try:
        scene.finish(name, seconds(step.within_ns))
    except TimeIsOverError:
        raise UnmetError(
            f"{name} to end within {seconds(step.within_ns):g} s",
            f"it still runs; it said: {shown(child.stderr.text()[-300:])}",
        ) from None


def _answer(scene: Scene, step: Answer) -> None:
    wanted = {name: scene.value(value) for name, value in step.question.items()}
    within_s = seconds(step.within_ns) * PATIENCE

    def fits(asked: Asked) -> bool:
        return not values.differing(asked.owner | asked.flow, wanted)

    with Answerer(scene.stage.world) as somebody:
        try:
            asked = somebody.hear(Asked, fits, within_s)
        except (ControlError, LabError):
            heard = [each for each in somebody.heard if isinstance(each, Asked)]
            told = "; ".join(_question(each) for each in heard) or "nothing is asked"
            raise UnmetError(f"a question about {values.wanted_text(wanted)}", told) from None
        try:
            answered = somebody.answer(
                asked.number,
                action=step.action,
                who=step.who,
                where=step.where,
                duration=step.duration,
            )
        except ControlError as error:
            raise LabError(f"the answer is refused: {error}") from error
    if asked.number not in answered.taken:
        raise UnmetError("the question to be open still", "it had ended before it was answered")


def _question(asked: Asked) -> str:
    flow, owner = asked.flow, asked.owner
    where = f"{values.text_of(flow.get('daddr'))} {values.text_of(flow.get('dport'))}"
    return f"{values.text_of(flow.get('proto'))} to {where} by {values.text_of(owner.get('exe'))}"


def _rules(scene: Scene, step: NewRules) -> None:
    before = scene.stage.daemon.rules_file.read_text(encoding="utf-8")
    scene.stage.daemon.write_rules(scene.text(step.text))
    problem = scene.stage.daemon.reload()
    if problem is None and step.is_refused:
        raise UnmetError("the rules to be refused", "they are in force")
    if problem is not None and not step.is_refused:
        raise UnmetError("the rules to come in force", f"they are refused: {problem}")
    if step.is_refused:  # a restart would read them again
        scene.stage.daemon.write_rules(before)


def _daemon(scene: Scene, step: Daemon) -> None:
    daemon = scene.stage.daemon
    if step.deed is FirewallDeed.RESTART:
        daemon.stop()
        daemon.start()
        return
    deeds: dict[FirewallDeed, Callable[[], None]] = {
        FirewallDeed.STOP: daemon.stop,
        FirewallDeed.KILL: daemon.kill,
        FirewallDeed.START: daemon.start,
        FirewallDeed.PAUSE: daemon.pause,
        FirewallDeed.RESUME: daemon.resume,
    }
    deeds[step.deed]()


def _command(scene: Scene, step: Command) -> None:
    world = scene.stage.world
    argv = [scene.text(each) for each in step.argv]
    cgroup = world.infra if step.host == "client" else scene.stage.others
    child = world.spawn(argv, netns=step.host, cgroup=cgroup)
    done = child.finish(_COMMAND_TIMEOUT_S)
    if done.returncode != step.status:
        said = shown((done.stderr or done.stdout).strip()[-300:])
        raise UnmetError(
            f"{shown(argv[0])} to end with status {step.status}",
            f"status {done.returncode}: {said or 'it said nothing'}",
        )


def _clock(scene: Scene, step: ClockJump) -> None:
    if "own-machine" not in scene.scenario.needs:
        raise LabError("who sets the clock needs own-machine")
    now_ns = time.clock_gettime_ns(time.CLOCK_REALTIME)
    time.clock_settime_ns(time.CLOCK_REALTIME, now_ns + step.by_ns)
    scene.clock_moved_ns += step.by_ns


_LOOKS = (ExpectRecord, ExpectArrived, ExpectCounter)
"""Steps with which nothing happens."""
_DOINGS: dict[type[Step], Callable[[Scene, Any], None]] = {
    Run: _run,
    Send: send,
    Answer: _answer,
    NewRules: _rules,
    Daemon: _daemon,
    Command: _command,
    ClockJump: _clock,
    ExpectRecord: expecting.expect_record,
    ExpectArrived: expecting.expect_arrived,
    ExpectCounter: expecting.expect_counter,
    ExpectEnd: expecting.expect_end,
}
