"""What is to be evaluated next: published checkpoints without an outcome, in order. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from sidestep.evaluator.settings import Order
from sidestep.evaluator.watching.order import ordered
from sidestep.evaluator.watching.scan import Candidate
from sidestep.shared.protocol.identity import CheckpointKey, Identity

NO_SUITE = "none"  # stands for the suite's hash where there are no test cases


@dataclass(frozen=True)
class Task:
    """One outcome to reach. ``candidate`` is None for the base model without adapter."""

    identity: Identity
    candidate: Candidate | None = None
    forced: bool = False  # a rerun that replaces an outcome of the same identity


@dataclass(frozen=True)
class Conditions:
    """What is the same for every outcome of a round: suite and decoding settings, by their hashes."""

    suite_hash: str
    decoding_hash: str

    def task(self, candidate: Candidate, *, forced: bool = False) -> Task:
        return Task(Identity(candidate.key, self.suite_hash, self.decoding_hash), candidate, forced)

    def base_task(self, folder: str, fingerprint: str) -> Task:
        """The base model without adapter, named by its folder and fingerprint."""
        return Task(Identity(CheckpointKey(folder, None, fingerprint), self.suite_hash, self.decoding_hash))

    def base_is_done(self, folder: str, outcomes: Iterable[Identity]) -> bool:
        """Whether a base model of this name has an outcome; only the engine can tell whether it is the same one."""
        wanted = (folder, None, self.suite_hash, self.decoding_hash)
        return any(
            (outcome.key.model_folder, outcome.key.step, outcome.suite_hash, outcome.decoding_hash) == wanted
            for outcome in outcomes
        )


FindTasks = Callable[[Conditions, Collection[str]], list[Task]]  # under these conditions, without those done


def pending_tasks(
    candidates: Iterable[Candidate], conditions: Conditions, done: Collection[str], order: Order
) -> list[Task]:
    """Tasks for every candidate whose identity is not among the ids of ``done``, in order."""
    tasks = (conditions.task(candidate) for candidate in ordered(candidates, order))
    return [task for task in tasks if task.identity.id not in done]
