"""Partitions and packet loss between two network namespaces.

Rules of the file: needs root, `ip` and, for losses, nftables. The agent runs in a
namespace of its own; broker, gateway and database stay where this program is, and a pair
of virtual cables joins the two. Both ends have addresses of 169.254.0.0/16 (RFC 3927),
which no router forwards. The namespace goes in the end, and the cable with it.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

from fanous.faults.outcome import Outcome, Task
from fanous.faults.plant import Plant
from fanous.faults.processes import Programs, need, need_root, run_tool
from fanous.faults.recording import Recording, make_recording
from fanous.faults.verdict import judge

LOSS_PERCENT = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Cable:
    """A namespace and the cable to it: names, and the address of this end."""

    namespace: str
    device: str
    host: str

    def set_link(self, state: str) -> None:
        """Take the link up or down.

        Parameters
        ----------
        state : up or down
        """
        run_tool("ip", "link", "set", self.device, state)

    def lose(self, percent: int) -> None:
        """Drop packets in both directions at random, with nftables.

        Parameters
        ----------
        percent : of the packets
        """
        inside = ("ip", "netns", "exec", self.namespace, need("nft", "nftables"))
        run_tool(*inside, "add", "table", "inet", "faults")
        for hook in ("input", "output"):
            chain = f"{{ type filter hook {hook} priority 0 ; }}"
            run_tool(*inside, "add", "chain", "inet", "faults", hook, chain)
            rule = f"numgen random mod 100 < {percent} drop"
            run_tool(*inside, "add", "rule", "inet", "faults", hook, *rule.split())


def part_networks(task: Task) -> Outcome:
    """Take the link between agent and broker down for seconds.

    Parameters
    ----------
    task : of the fault
    """
    count = 2 if task.quick else 12
    chance = task.random()
    recording = make_recording(task.folder, minutes=2 if task.quick else 8, seed=task.seed)
    with cable() as wire, Programs() as programs:
        plant = _plant(programs, recording, task, wire, speed=recording.seconds / count / 7.0)
        for _ in range(count):
            time.sleep(chance.uniform(1.0, 3.0))
            wire.set_link("down")
            time.sleep(chance.uniform(1.0, 7.0))
            wire.set_link("up")
        return judge(task, plant, done="link between namespaces down for 1 to 7 s", times=count)


def lose_packets(task: Task) -> Outcome:
    """Lose packets in both directions between agent and broker.

    Parameters
    ----------
    task : of the fault
    """
    need("nft", "nftables")
    recording = make_recording(task.folder, minutes=2 if task.quick else 8, seed=task.seed)
    with cable() as wire, Programs() as programs:
        wire.lose(LOSS_PERCENT)
        feed_s = 15.0 if task.quick else 120.0
        plant = _plant(programs, recording, task, wire, speed=recording.seconds / feed_s)
        done = f"{LOSS_PERCENT} % of the packets lost in both directions"
        return judge(task, plant, done=done, times=1)


@contextlib.contextmanager
def cable() -> Iterator[Cable]:
    """Make a namespace with a cable to it; both go in the end.

    Yields
    ------
    wire : the link is up

    Raises
    ------
    NotHereError
        This machine does not allow it.
    """
    need("ip", "iproute2")
    need_root("a network namespace")
    number = os.getpid() % 16_000
    namespace, device, peer = (f"{letters}{number}" for letters in ("fanous", "fnh", "fnp"))
    third, fourth = number // 64, number % 64 * 4
    host, guest = f"169.254.{third}.{fourth + 1}", f"169.254.{third}.{fourth + 2}"
    run_tool("ip", "netns", "add", namespace)
    try:
        run_tool(
            *("ip", "link", "add", device, "type", "veth", "peer", "name", peer),
            *("netns", namespace),
        )
        run_tool("ip", "addr", "add", f"{host}/30", "dev", device)
        run_tool("ip", "link", "set", device, "up")
        run_tool("ip", "-n", namespace, "addr", "add", f"{guest}/30", "dev", peer)
        run_tool("ip", "-n", namespace, "link", "set", peer, "up")
        run_tool("ip", "-n", namespace, "link", "set", "lo", "up")
        yield Cable(namespace=namespace, device=device, host=host)
    finally:
        run_tool("ip", "netns", "del", namespace)


def _plant(
    programs: Programs, recording: Recording, task: Task, wire: Cable, *, speed: float
) -> Plant:
    plant = Plant(
        programs,
        recording,
        task.folder / "plant",
        database=False,
        broker_host=wire.host,
    )
    plant.start()
    player = plant.player("pi-1", speed=speed, prefix=[need("ip"), "netns", "exec", wire.namespace])
    player.start()
    return plant
