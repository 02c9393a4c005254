"""How long a training step takes on n machines: a model, and a simulation that it is checked against.

The model knows what one machine measures (`Costs`: the forward pass, backward of each layer, the rest of a step, the
size of each gradient) and two figures of a network (`Link`).  It assumes that

- all machines are equally fast, and no step waits for data;
- one operation of n machines takes ``(n - 1) * latency + bytes sent / bandwidth``, on a network where nobody is in the
  way of anybody else: a rank sends its n - 1 messages one after another, each at full speed;
- a rank's operations take turns; computing does not make them slower, nor they computing;
- an operation moves on by itself, but the next one is begun when backward is done with a layer, or when it waits.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from engine.backend import get_backend
from engine.parallel.buckets import BUCKET, Buckets, packed
from engine.parallel.communicator import Communicator
from engine.parallel.threads import run_ranks


class Link(NamedTuple):
    """A network between machines.

    Attributes
    ----------
    name : in words.
    latency : seconds from the start of a message to its arrival, without its bytes.
    bandwidth : bytes a second that each machine can send, and receive at the same time.
    """

    name: str
    latency: float
    bandwidth: float

    def seconds(self, sent: float, ranks: int) -> float:
        """Of one operation in which each of the ranks sends so many bytes."""
        return (ranks - 1) * self.latency + sent / self.bandwidth


class Done(NamedTuple):
    """A moment of a backward pass.

    Attributes
    ----------
    seconds : since the moment before.
    names : the gradients that are what they will be from now on.
    """

    seconds: float
    names: tuple[str, ...]


class Costs(NamedTuple):
    """A training step on one machine.

    Attributes
    ----------
    forward : seconds up to the start of backward.
    backward : the moments of backward.
    rest : seconds of clipping and the optimiser.
    entries : numbers in each gradient by name, in the model's order.
    itemsize : bytes of one of them, 4 or 8.
    """

    forward: float
    backward: Sequence[Done]
    rest: float
    entries: Mapping[str, int]
    itemsize: int = 4

    @property
    def seconds(self) -> float:
        """Of the whole step."""
        return self.forward + sum(done.seconds for done in self.backward) + self.rest

    def buckets(self, size: int) -> list[tuple[dict[str, int], np.dtype]]:
        """How the gradients are put together."""
        dtype = np.dtype(f"f{self.itemsize}")
        return packed([(name, count, dtype) for name, count in self.entries.items()], size)


def bytes_sent(costs: Costs, ranks: int, bucket: int = BUCKET) -> int:
    """What a rank sends in one step: of each bucket (n-1)/n, twice; filled up to a multiple of n."""
    parts = [-(-sum(names.values()) // ranks) * costs.itemsize for names, _ in costs.buckets(bucket)]
    return 2 * (ranks - 1) * sum(parts)


def predicted_seconds(costs: Costs, ranks: int, link: Link, bucket: int = BUCKET, overlap: bool = True) -> float:
    """The seconds of a step on so many machines.

    Parameters
    ----------
    overlap : whether buckets are sent while backward goes on, or all after it.
    """
    buckets = costs.buckets(bucket)
    if ranks == 1:
        return costs.seconds
    took = [link.seconds((ranks - 1) * -(-sum(b.values()) // ranks) * costs.itemsize, ranks) for b, _ in buckets]
    missing = [set(names) for names, _ in buckets]
    now, card = costs.forward, 0.0
    exchanged: list[float] = []  # when the parts of each bucket have come
    summed: list[float] = []  # when its sum has

    def move_on() -> None:
        nonlocal card
        while len(exchanged) < len(buckets) and not missing[len(exchanged)]:
            card = max(card, now) + took[len(exchanged)]
            exchanged.append(card)
        while len(summed) < len(exchanged) and exchanged[len(summed)] <= now:
            card = max(card, now) + took[len(summed)]
            summed.append(card)

    for done in costs.backward:
        now += done.seconds
        if overlap:
            for names in missing:
                names.difference_update(done.names)
            move_on()
    for names in missing:
        names.clear()
    move_on()
    for place in range(len(buckets)):
        if place == len(summed):  # its parts are waited for, then its sum
            now = max(now, exchanged[place])
            card = max(card, now) + took[place]
            summed.append(card)
        now = max(now, summed[place])
    return now + costs.rest


def simulated_seconds(
    costs: Costs, ranks: int, link: Link, bucket: int = BUCKET, overlap: bool = True, steps: int = 2
) -> float:
    """The seconds of a step that were measured on as many threads, which sleep where machines would compute.

    The buckets and their sums are those of a training; the network is one that waits (`engine.parallel.threads`).
    Arrays have one hundredth of their size and the network one hundredth of its bandwidth, so that the bytes take their
    time without being moved by this machine.  Many ranks play in slow motion, for one machine does the work of all.
    """
    smaller, slower = 100, max(2.0, ranks / 4)
    entries = {name: max(1, count // smaller) for name, count in costs.entries.items()}
    dtype = np.dtype(f"f{costs.itemsize}")

    def work(communicator: Communicator) -> float:
        grads = {name: np.zeros(count, dtype) for name, count in entries.items()}
        model: Any = SimpleNamespace(backend=get_backend("numpy:reference"), grads=grads)
        buckets = Buckets(model, communicator, bucket // smaller)
        communicator.gather(None)
        begun = time.monotonic()
        for _ in range(steps):
            time.sleep(slower * costs.forward)
            for done in costs.backward:
                time.sleep(slower * done.seconds)
                if overlap:
                    buckets.ready(list(done.names))
            buckets.finish()
            time.sleep(slower * costs.rest)
        communicator.gather(None)
        return (time.monotonic() - begun) / steps / slower

    found = run_ranks(ranks, work, latency=slower * link.latency, bandwidth=link.bandwidth / smaller / slower)
    return float(max(found))
