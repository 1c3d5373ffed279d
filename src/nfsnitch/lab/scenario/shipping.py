"""Has the packets of a scenario sent: by programs, or as frames on a wire."""

from __future__ import annotations

import dataclasses
import errno
import ipaddress
from pathlib import Path

from nfsnitch.lab.scenario.model import Layers, Send, Side
from nfsnitch.lab.scenario.network import addresses
from nfsnitch.lab.scenario.packets import Defaults, PacketError, build, is_frame
from nfsnitch.lab.scenario.scene import Scene
from nfsnitch.lab.scenario.sending import RawSender, Sending, interpreter, send_frames
from nfsnitch.lab.scenario.wiring import end_at
from nfsnitch.lab.waiting import LabError
from nfsnitch.lab.world import CLIENT


def send(scene: Scene, step: Send) -> None:
    """Send the packets of a step, and return when the kernel has them all.

    Raises:
        LabError: they cannot be built or sent, or the kernel took none of them, for another reason
            than that a firewall refused them.

    """
    defaults = _defaults(scene, step)
    try:
        packets = [
            packet for layers in step.packets for packet in build(_framed(layers, step), defaults)
        ]
    except PacketError as error:
        raise LabError(str(error)) from error
    done = _sent(scene, step, packets)
    if done.errnos and set(done.errnos).isdisjoint({0, errno.EPERM}):
        raise LabError(f"the kernel took none of the packets: {done}")


def _sent(scene: Scene, step: Send, packets: list[bytes]) -> Sending:
    world, network = scene.stage.world, scene.stage.network
    if step.side is Side.FRAME:
        return send_frames(
            world,
            network,
            step.host,
            packets,
            interface=step.interface,
            count=step.count,
            every_ns=step.every_ns,
        )
    sender = _sender(scene, step)
    done = sender.send(
        packets,
        count=step.count,
        every_ns=step.every_ns,
        interface=step.interface,
        within_ns=step.within_ns,
    )
    if step.name:
        scene.keep(step.name, sender.child)
    return done


def _sender(scene: Scene, step: Send) -> RawSender:
    """Return the sender of that program on that host: one for each, as long as the scenario."""
    key = (step.host, step.program, step.name)
    if key not in scene.senders:
        if step.program is None:
            program = scene.stage.copies.of(interpreter(), "sender")
        else:
            program = Path(scene.program(step.program))
        cgroup = None if step.host == CLIENT else scene.stage.others
        sender = RawSender(
            scene.stage.world, scene.stage.network, program=program, host=step.host, cgroup=cgroup
        )
        scene.senders[key] = sender
    return scene.senders[key]


def _framed(layers: Layers, step: Send) -> Layers:
    """Put the hardware addresses in front of what is to be a frame, and begins with IP."""
    if step.side is Side.IP or not layers.layers or layers.prefix or is_frame(layers):
        return layers
    return dataclasses.replace(layers, layers=(("Ether", {}), *layers.layers))


def _defaults(scene: Scene, step: Send) -> Defaults:
    network = scene.stage.network
    having = [ipaddress.ip_address(each) for each in addresses(network, step.host)]
    end = end_at(network, step.host, step.interface)
    known = Defaults(mac=end.mac, to_mac=end.peer_mac)
    found = {
        "ipv4": next((each for each in having if each.version == 4), None),  # noqa: PLR2004
        "ipv6": next((e for e in having if e.version == 6 and not e.is_link_local), None),  # noqa: PLR2004
        "link_local": next((e for e in having if e.version == 6 and e.is_link_local), None),  # noqa: PLR2004
    }
    told = {name: str(each).partition("%")[0] for name, each in found.items() if each is not None}
    return dataclasses.replace(known, **told)
