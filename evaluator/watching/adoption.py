"""``watch --adopt``: checkpoints that nobody publishes are taken once they are provably complete, and then held.

A training that cannot be changed writes no markers. Its checkpoint is adopted when all of this holds:

- trainer_state.json, which a Trainer writes last, parses and names the folder's step;
- every safetensors file is as long as its header says, and every shard is there (shared.protocol.checkpoint);
- no file has changed between two polls that are at least ``settle_seconds`` apart;
- where a folder is written over, trainer_state.json has been written again as well.

An adopted checkpoint is held below the reports folder, weights as hard links, so that rotation cannot take it away
from then on. Nothing is written into checkpoint folders. Modification times are only compared with earlier ones of
the same file, never with a clock.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from sidestep.evaluator.settings import EvaluatorSettings
from sidestep.evaluator.watching.scan import Candidate, candidate_of, merge, scan
from sidestep.evaluator.watching.tasks import Conditions, Task, pending_tasks
from sidestep.evaluator.watching.unmarked import UnmarkedDescription, unmarked_steps
from sidestep.shared.errors import PublishError
from sidestep.shared.logs import get_logger
from sidestep.shared.protocol.checkpoint import IncompleteCheckpoint, check_finished, describe_files, is_weights
from sidestep.shared.protocol.layout import ModelFolder, checkpoint_name
from sidestep.shared.protocol.marker import FileEntry, Marker
from sidestep.shared.protocol.outbox import OutboxLimits, enforce_limits, entry_name, remove, stage, sweep_leftovers
from sidestep.shared.protocol.place import Place
from sidestep.shared.protocol.presence import evaluators_present

log = get_logger("evaluator")

SETTLE_SECONDS = 2.0
STATE_NAME = "trainer_state.json"

FileState = tuple[int, int, int]  # inode, size, modification time
Files = dict[str, FileState]
IsDone = Callable[[str, Marker], bool]  # model folder, marker


class AdoptedTasks:
    """Every checkpoint, published or adopted, that has no outcome yet."""

    def __init__(self, settings: EvaluatorSettings) -> None:
        self._place = settings.place
        self._order = settings.order
        self._adopter = Adopter(settings.place, UnmarkedDescription.from_settings(settings))

    def is_settling(self) -> bool:
        """Whether a complete checkpoint waits for its second poll, so that this is not the time to end."""
        return self._adopter.is_settling()

    def prepare(self) -> None:
        """Delete what a killed evaluator left half held, unless another evaluator may be holding it right now."""
        if not evaluators_present(self._place.reports):
            for folder in self._place.adopted_folders():
                sweep_leftovers(folder)

    def find_tasks(self, conditions: Conditions, done: Collection[str]) -> list[Task]:
        """Everything published or adopted that has no outcome yet."""

        def is_done(model_folder: str, marker: Marker) -> bool:
            candidate = candidate_of(ModelFolder(self._place.root / model_folder), marker)
            return conditions.task(candidate).identity.id in done

        # Polled first, scanned again after: what was just adopted is held by then.
        adopted = self._adopter.poll(self._published(), is_done)
        return pending_tasks(merge([*scan(self._place), *adopted]), conditions, done, self._order)

    def _published(self) -> set[tuple[str, int]]:
        """Model folder and step of what is found anywhere but among the adopted ones."""
        adopted = self._place.reports.adopted
        return {
            (candidate.model_folder, candidate.step)
            for candidate in scan(self._place)
            if not candidate.sources or any(adopted not in source.parents for source in candidate.sources)
        }


@dataclass
class _Seen:
    """A complete folder as it was at the last poll that found a change; ``marker`` once it is adopted."""

    files: Files
    since: float
    marker: Marker | None = None


class Adopter:
    """Polls unmarked checkpoints, and adopts those that stay as they are."""

    def __init__(
        self,
        place: Place,
        description: UnmarkedDescription,
        *,
        limits: OutboxLimits | None = None,
        settle_seconds: float = SETTLE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._place = place
        self._description = description
        self._limits = limits or OutboxLimits()
        self._settle_seconds = settle_seconds
        self._clock = clock
        self._seen: dict[tuple[str, int], _Seen] = {}
        self._complaints: dict[tuple[str, int], str] = {}

    def is_settling(self) -> bool:
        """Whether a complete checkpoint waits for its second poll."""
        return any(seen.marker is None for seen in self._seen.values())

    def poll(self, published: Collection[tuple[str, int]], is_done: IsDone) -> list[Candidate]:
        """Look at everything once; returns what has been adopted and is still in its folder.

        ``published``: model folders and steps that have a marker of their own. What ``is_done`` knows an outcome of
        is not held again.
        """
        found, present = [], set()
        for model, step in unmarked_steps(self._place, published):
            key = (model.root.name, step)
            present.add(key)
            try:
                marker = self._poll_one(model, step, is_done)
            except FileNotFoundError:  # rotated away in the meantime
                self._seen.pop(key, None)
                continue
            except (IncompleteCheckpoint, PublishError, OSError) as error:
                self._seen.pop(key, None)
                self._complain(key, str(error))
                continue
            if marker:
                found.append(candidate_of(model, marker, model.checkpoint(step)))
        for key in set(self._seen) - present:
            del self._seen[key]
        return found

    def _poll_one(self, model: ModelFolder, step: int, is_done: IsDone) -> Marker | None:
        """The marker of an adopted checkpoint, None while it has to settle. Raises when it is not complete."""
        key, folder = (model.root.name, step), model.checkpoint(step)
        files, known = list_files(folder), self._seen.get(key)
        if known and known.marker and known.files == files:
            return known.marker
        reason = check_finished(folder)
        if known is None or known.files != files:
            if known and is_being_written_over(known.files, files):
                self._complain(key, f"its weights were written again, {STATE_NAME} was not")
                known.since = self._clock()
                return None
            self._seen[key] = _Seen(files, self._clock())
            return None
        if self._clock() - known.since < self._settle_seconds:
            return None
        known.marker = self._adopt(model, step, reason, is_done)
        if list_files(folder) != files:  # changed while it was read: what was held is not a checkpoint
            self._release(model, known.marker)
            del self._seen[key]
            return None
        log.info("%s is complete and has no marker: adopted", folder.name)
        return known.marker

    def _adopt(self, model: ModelFolder, step: int, reason: str | None, is_done: IsDone) -> Marker:
        folder, hold = model.checkpoint(step), self._place.adopted_folder(model)

        def describe(files: tuple[FileEntry, ...]) -> Marker:
            return self._description.build_marker(folder, step, files, reason)

        marker = describe(describe_files(folder))
        if is_done(model.root.name, marker):
            return marker
        hold.root.mkdir(parents=True, exist_ok=True)
        held = stage(hold, folder, describe, touch=False)
        for dropped in enforce_limits(hold, self._limits, lambda marker: is_done(model.root.name, marker)):
            log.warning(
                "%s waited too long behind %d others and is held no more", dropped.path.name, self._limits.entries
            )
        return held.marker

    def _release(self, model: ModelFolder, marker: Marker) -> None:
        remove(self._place.adopted_folder(model).outbox / entry_name(marker))

    def _complain(self, key: tuple[str, int], reason: str) -> None:
        """Say once for each reason why a checkpoint is not taken: most are simply not finished yet."""
        if self._complaints.get(key) != reason:
            self._complaints[key] = reason
            log.info("%s is not adopted yet: %s", checkpoint_name(key[1]), reason)


def is_being_written_over(before: Files, now: Files) -> bool:
    """Whether weights changed under an unchanged trainer_state.json, which is written after them. Pure."""
    changed = any(is_weights(name) and name in before and before[name] != file for name, file in now.items())
    return changed and before.get(STATE_NAME) == now.get(STATE_NAME)


def list_files(folder: Path) -> Files:
    """Every file of a checkpoint, and of the folders right inside it, as it is now. Raises OSError when it is gone."""
    found: Files = {}
    for entry in os.scandir(folder):
        status = entry.stat(follow_symlinks=False)
        found[entry.name] = _state_of(status)
        if stat.S_ISDIR(status.st_mode):
            for inner in os.scandir(entry.path):
                found[f"{entry.name}/{inner.name}"] = _state_of(inner.stat(follow_symlinks=False))
    return found


def _state_of(status: os.stat_result) -> FileState:
    return status.st_ino, status.st_size, status.st_mtime_ns
