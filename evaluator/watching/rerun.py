"""Which old checkpoints an explicit rerun evaluates, and when a checkpoint without a marker may be taken."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from sidestep.evaluator.settings import EvaluatorSettings
from sidestep.evaluator.watching.scan import Candidate, candidate_of, scan
from sidestep.evaluator.watching.tasks import Conditions, Task, in_order
from sidestep.evaluator.watching.unmarked import UnmarkedDescription, unmarked_steps
from sidestep.shared.commands.choices import Order
from sidestep.shared.errors import ConfigError, WeightsFolderError
from sidestep.shared.logs import get_logger
from sidestep.shared.protocol.checkpoint import IncompleteCheckpoint, check_finished, describe_files
from sidestep.shared.protocol.layout import ModelFolder, step_named

log = get_logger("evaluator")


class RerunTasks:
    """Evaluates the checkpoints that were there when the rerun began; with ``force`` also those with an outcome."""

    def __init__(self, candidates: Sequence[Candidate], order: Order, *, force: bool) -> None:
        self._candidates = in_order(candidates, order)
        self._force = force

    def is_settling(self) -> bool:
        return False

    def prepare(self) -> None:
        """Nothing to do."""

    def find_tasks(self, conditions: Conditions, done: Collection[str]) -> list[Task]:
        tasks = [conditions.task(candidate, forced=self._force) for candidate in self._candidates]
        return [task for task in tasks if task.forced or task.identity.id not in done]


def rerun_tasks(
    settings: EvaluatorSettings, checkpoints: str | None, *, force: bool, accept_unmarked: bool
) -> RerunTasks:
    """What a rerun has to do.

    Raises WeightsFolderError when there is no weights folder or no checkpoint to run, ConfigError when ``checkpoints``
    is not a list of steps.
    """
    root = settings.place.root
    if not root.is_dir():
        raise WeightsFolderError(f"{root} does not exist", hint="give the folder of an expert that has been trained")
    steps = parse_steps(checkpoints)
    published = scan(settings.place)
    marked = {(candidate.model_folder, candidate.step) for candidate in published}
    unmarked = [
        (model, step) for model, step in unmarked_steps(settings.place, marked) if steps is None or step in steps
    ]
    if accept_unmarked:
        published += _accept(settings, unmarked)
    candidates = [candidate for candidate in published if steps is None or candidate.step in steps]
    _require_all(settings, candidates, steps, [] if accept_unmarked else unmarked)
    return RerunTasks(candidates, settings.order, force=force)


def parse_steps(checkpoints: str | None) -> set[int] | None:
    """Steps from ``250,500`` (``checkpoint-250`` works too); None means all. Raises ConfigError."""
    if checkpoints is None:
        return None
    steps = [step_named(part.strip()) for part in checkpoints.split(",") if part.strip()]
    if not steps or None in steps:
        raise ConfigError(f"--checkpoints {checkpoints!r} is not a list of steps", hint="write it like 250,500")
    return {step for step in steps if step is not None}


def _accept(settings: EvaluatorSettings, unmarked: Iterable[tuple[ModelFolder, int]]) -> list[Candidate]:
    """Candidates for checkpoints that nobody marked but that are provably complete; the others are named and left."""
    accepted = []
    description = UnmarkedDescription.from_settings(settings)
    for model, step in unmarked:
        folder = model.checkpoint(step)
        try:
            reason = check_finished(folder)
            marker = description.build_marker(folder, step, describe_files(folder), reason)
        except (IncompleteCheckpoint, OSError) as error:
            log.error("%s is not evaluated: %s", folder, error)
            continue
        accepted.append(candidate_of(model, marker, folder))
    return accepted


def _require_all(
    settings: EvaluatorSettings,
    candidates: Sequence[Candidate],
    steps: set[int] | None,
    left_out: Sequence[tuple[ModelFolder, int]],
) -> None:
    """Refuse a rerun that would silently leave out what was asked for."""
    missing = sorted((steps or set()) - {candidate.step for candidate in candidates})
    without_marker = sorted({step for _, step in left_out})
    if not candidates or missing:
        what = f"checkpoint {', '.join(map(str, missing))}" if missing else "no published checkpoint"
        hint = "`sidestep-evaluator status` lists what is there"
        if without_marker:
            hint = f"without a marker: {', '.join(map(str, without_marker))}; take them with --accept-unmarked"
        raise WeightsFolderError(f"{settings.place.root}: {what} {'not found' if missing else 'found'}", hint=hint)
    if without_marker:
        log.warning("left out, without a marker: %s (take them with --accept-unmarked)", without_marker)
