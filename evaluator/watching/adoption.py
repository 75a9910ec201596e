"""What ``watch --adopt`` has to do: published checkpoints, and those that nobody publishes once they are complete."""

from __future__ import annotations

from collections.abc import Collection

from sidestep.evaluator.settings import EvaluatorSettings
from sidestep.evaluator.watching.adopt import Adopter, UnmarkedDescription
from sidestep.evaluator.watching.planning import Conditions, Task, pending_tasks
from sidestep.evaluator.watching.scan import candidate_of, merged, scan
from sidestep.shared.protocol.layout import ModelFolder
from sidestep.shared.protocol.marker import Marker
from sidestep.shared.protocol.outbox import sweep_leftovers
from sidestep.shared.protocol.presence import evaluators_present


def unmarked_description(settings: EvaluatorSettings) -> UnmarkedDescription:
    """What is known of checkpoints that no publisher described."""
    return UnmarkedDescription(settings.expert_name, settings.expert_version, settings.engine.base_model)


class Adoption:
    """Finds the tasks of an evaluator that adopts."""

    def __init__(self, settings: EvaluatorSettings) -> None:
        self._settings = settings
        self._adopter = Adopter(settings.place, unmarked_description(settings))
        if not evaluators_present(settings.place.reports):
            for folder in settings.place.adopted_folders():
                sweep_leftovers(folder)

    def settling(self) -> bool:
        """Whether a complete checkpoint waits for its second look, so that this is no time to end."""
        return self._adopter.settling

    def find_tasks(self, conditions: Conditions, done: Collection[str]) -> list[Task]:
        """Everything published or adopted that has no outcome yet."""

        def is_done(model_folder: str, marker: Marker) -> bool:
            candidate = candidate_of(ModelFolder(self._settings.place.root / model_folder), marker)
            return conditions.task(candidate).identity.id in done

        place = self._settings.place
        known = scan(place)
        held = place.reports.adopted
        published = {
            (each.model_folder, each.step)
            for each in known
            if not each.sources or any(held not in source.parents for source in each.sources)
        }
        # Looked at first, scanned again after: what was just adopted is held by then.
        adopted = self._adopter.look(published, is_done)
        return pending_tasks(merged([*scan(place), *adopted]), conditions, done, self._settings.order)
