"""What is to be evaluated next: checkpoints without an outcome, in order."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sidestep.evaluator.watching.scan import Candidate, scan
from sidestep.shared.commands.choices import Order
from sidestep.shared.logs import get_logger
from sidestep.shared.protocol.identity import CheckpointKey, Identity
from sidestep.shared.protocol.place import Place

log = get_logger("evaluator")

NO_SUITE = "none"  # stands for the suite's hash where there are no test cases


@dataclass(frozen=True)
class Task:
    """One outcome to reach. ``candidate`` is None for the base model without adapter."""

    identity: Identity
    candidate: Candidate | None = None
    forced: bool = False  # a rerun that replaces an outcome of the same identity

    @property
    def needs_worker(self) -> bool:
        """Whether something is to be evaluated, and not only noted (rejected, skipped)."""
        return self.candidate is None or not (self.candidate.rejected or self.candidate.skipped)


@dataclass(frozen=True)
class Conditions:
    """What is the same for every outcome of a round: suite and decoding settings, by their hashes."""

    suite_hash: str
    decoding_hash: str

    def task(self, candidate: Candidate, *, forced: bool = False) -> Task:
        """The task of a checkpoint under these conditions."""
        return Task(Identity(candidate.key, self.suite_hash, self.decoding_hash), candidate, forced)

    def base_task(self, folder: str, fingerprint: str) -> Task:
        """The base model without adapter, named by its folder and fingerprint."""
        return Task(Identity(CheckpointKey(folder, None, fingerprint), self.suite_hash, self.decoding_hash))

    def has_base(self, folder: str, outcomes: Iterable[Identity]) -> bool:
        """Whether a base model of this name has an outcome; only the engine can tell whether it is the same one."""
        wanted = (folder, None, self.suite_hash, self.decoding_hash)
        return any(
            (outcome.key.model_folder, outcome.key.step, outcome.suite_hash, outcome.decoding_hash) == wanted
            for outcome in outcomes
        )


class TaskSource(Protocol):
    """Where the supervisor's work comes from: what is published, what is adopted, or what a rerun names."""

    def is_settling(self) -> bool:
        """Whether more may turn out to be work at the next call, so that this is not the time to end."""
        ...

    def prepare(self) -> None:
        """Called once, before the first search."""
        ...

    def find_tasks(self, conditions: Conditions, done: Collection[str]) -> list[Task]:
        """What is to be done under these conditions, in order; ``done`` are the ids of the outcomes there are."""
        ...


class ProblemLog:
    """Says once for each path what is wrong with it, and again when that changes."""

    def __init__(self) -> None:
        self._said: dict[Path, str] = {}

    def add(self, path: Path, reason: str) -> None:
        """``path`` cannot be read, or is not what it should be."""
        if self._said.get(path) != reason:
            self._said[path] = reason
            log.warning("%s is passed over: %s", str(path).encode("utf-8", "replace").decode(), reason)


class PublishedTasks:
    """Every published checkpoint that has no outcome yet."""

    def __init__(self, place: Place, order: Order) -> None:
        self._place = place
        self._order = order
        self._problems = ProblemLog()

    def is_settling(self) -> bool:
        return False

    def prepare(self) -> None:
        """Nothing to do."""

    def find_tasks(self, conditions: Conditions, done: Collection[str]) -> list[Task]:
        return pending_tasks(scan(self._place, self._problems.add), conditions, done, self._order)


def pending_tasks(
    candidates: Iterable[Candidate], conditions: Conditions, done: Collection[str], order: Order
) -> list[Task]:
    """Tasks for every candidate whose identity is not among the ids of ``done``, in order. Pure."""
    tasks = (conditions.task(candidate) for candidate in in_order(candidates, order))
    return [task for task in tasks if task.identity.id not in done]


def in_order(candidates: Iterable[Candidate], order: Order) -> list[Candidate]:
    """Candidates as they should be evaluated; those that only need a note (skipped, rejected) come first. Pure."""
    by_step = sorted(candidates, key=lambda candidate: (candidate.step, candidate.key), reverse=order is Order.NEWEST)
    return sorted(by_step, key=lambda candidate: bool(candidate.sources) and candidate.rejected is None)
