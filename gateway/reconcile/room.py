# SPDX-License-Identifier: Apache-2.0
"""Whose room an instance may have that finds none: pure, from nodes and instances to a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.reconcile.waiting import large_enough, needs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from gateway.scheduler.protocol import NodeSize
    from gateway.store.instances import Instance


class Space(NamedTuple):
    """Room on a node: CPUs, memory in MiB, disk in MiB."""

    cpus: int
    memory: int
    disk: int

    def plus(self, other: Space) -> Space:
        """Return both together."""
        return Space(*(mine + its for mine, its in zip(self, other, strict=True)))

    def minus(self, other: Space) -> Space:
        """Return what is left; below nothing where there was not enough."""
        return Space(*(mine - its for mine, its in zip(self, other, strict=True)))

    def covers(self, other: Space) -> bool:
        """Return whether it is enough."""
        return all(mine >= its for mine, its in zip(self, other, strict=True))


class Plan(NamedTuple):
    """Which instances are to be interrupted now, and which will find room that is being made."""

    interrupted: list[Instance]
    helped: set[str]


class Rooms:
    """What is free on each node, and what will be; each instance that is placed takes its part."""

    def __init__(self, nodes: Sequence[NodeSize], leaving: Iterable[Instance] = ()) -> None:
        self._nodes = nodes
        self._now = {
            node.name: Space(node.free_cpus, node.free_memory_mib, node.free_disk_mib)
            for node in nodes
        }
        self._later = dict(self._now)
        hosts = {node.host: node.name for node in nodes}
        for instance in leaving:
            if name := hosts.get(instance.node):
                self._later[name] = self._later[name].plus(need(instance))

    def place(self, instance: Instance) -> bool | None:
        """Take room for an instance; whether it is there now, None where it never will be."""
        large = large_enough(instance, self._nodes)
        for rooms, there in ((self._now, True), (self._later, False)):
            for node in large:
                # What will be free is promised once, and so is what is free.
                if rooms[node.name].covers(need(instance)) and (
                    not there or self._later[node.name].covers(need(instance))
                ):
                    self._take(node.name, instance, there=there)
                    return there
        return None

    def place_now(self, instance: Instance) -> bool:
        """Take room for an instance if it is there now."""
        for node in large_enough(instance, self._nodes):
            if self._now[node.name].covers(need(instance)):
                self._take(node.name, instance, there=True)
                return True
        return False

    def make(self, instance: Instance, victims: Sequence[Instance]) -> list[Instance]:
        """Take room for an instance by ending some of ``victims``; none where that is too few.

        They are on one node and as few as that needs: the youngest that is enough alone, or the
        youngest together.
        """
        choices = []
        by_host: dict[str | None, list[Instance]] = {}
        for one in victims:
            by_host.setdefault(one.node, []).append(one)
        for node in large_enough(instance, self._nodes):
            there = by_host.get(node.host, []) if node.host is not None else []
            if chosen := _fewest(need(instance), self._later[node.name], there):
                choices.append((len(chosen), -_age(chosen), node.name, chosen))
        if not choices:
            return []
        _, _, name, chosen = min(choices, key=lambda choice: choice[:3])
        for one in chosen:
            self._later[name] = self._later[name].plus(need(one))
        self._take(name, instance, there=False)
        return chosen

    def _take(self, name: str, instance: Instance, *, there: bool) -> None:
        self._later[name] = self._later[name].minus(need(instance))
        if there:
            self._now[name] = self._now[name].minus(need(instance))


def plan(
    waiting: Iterable[Instance],
    nodes: Sequence[NodeSize],
    leaving: Iterable[Instance],
    victims: Iterable[Instance],
) -> Plan:
    """Return what is to be done so that those who wait find room.

    ``leaving`` are instances whose room will be free without more being done, ``victims`` those
    that may be interrupted. The first of ``waiting`` comes first.
    """
    rooms = Rooms(nodes, leaving)
    left = list(victims)
    made = Plan([], set())
    for instance in waiting:
        placed = rooms.place(instance)
        if placed is None:
            chosen = rooms.make(instance, left)
            left = [one for one in left if one not in chosen]
            made.interrupted.extend(chosen)
            placed = not chosen
        if not placed:
            made.helped.add(instance.id)
    return made


def need(instance: Instance) -> Space:
    """Return the room that an instance takes on its node."""
    return Space(*needs(instance))


def _fewest(wanted: Space, free: Space, there: Sequence[Instance]) -> list[Instance]:
    youngest = sorted(there, key=lambda one: (one.begun_at, one.id), reverse=True)
    for one in youngest:
        if free.plus(need(one)).covers(wanted):
            return [one]
    chosen: list[Instance] = []
    room = free
    for one in youngest:
        chosen.append(one)
        room = room.plus(need(one))
        if room.covers(wanted):
            break
    else:
        return []
    for one in reversed(chosen[:]):
        if room.minus(need(one)).covers(wanted):
            chosen.remove(one)
            room = room.minus(need(one))
    return chosen


def _age(chosen: Sequence[Instance]) -> float:
    oldest: datetime = min(one.begun_at for one in chosen)
    return oldest.timestamp()
