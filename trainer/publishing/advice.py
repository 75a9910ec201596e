"""What a training may do with the evaluator's advice: spare the best checkpoint from rotation, stop when it is over.

    trainer = SFTTrainer(..., callbacks=[PublishCheckpoint(), FollowAdvice(stop=True)])

The advice is a small file that is looked at when a checkpoint is due. There is no waiting: without a file, or with one
about another training, everything goes on as if nobody had asked. Advice counts only when its newest checkpoint was
published by this run, and the best checkpoint is spared only when its marker names the very files that were evaluated.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sidestep.shared.files import read_bounded
from sidestep.shared.logs import get_logger
from sidestep.shared.protocol.identity import CheckpointKey
from sidestep.shared.protocol.layout import MARKER_NAME, MAX_MARKER_BYTES, ModelFolder
from sidestep.shared.protocol.marker import InvalidMarker, Marker, parse_marker
from sidestep.shared.protocol.place import reports_of

log = get_logger("trainer")

MAX_ADVICE_BYTES = 16 << 20


@dataclass(frozen=True)
class Advice:
    """What the evaluator says about one model's training (docs/verdicts.md, advice.json)."""

    run_id: str
    newest_step: int
    best: CheckpointKey
    stop: bool
    reason: str


class FollowAdvice(TrainerCallback):
    """Spares the checkpoint that the evaluator found best from ``save_total_limit``; ``stop`` also ends training.

    transformers spares ``state.best_model_checkpoint``; it is set for the moment of a save only, so that the end of
    training does not see it, which with ``save_total_limit=1`` deletes everything else. Where transformers looks for a
    best checkpoint itself, by ``metric_for_best_model``, that one stays the one it spares.
    """

    def __init__(self, *, keep: bool = True, stop: bool = False) -> None:
        self._keep = keep
        self._stop = stop
        self._saved: set[int] = set()
        self._runs: set[str] = set()
        self._spared: str | None = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kw: Any) -> None:
        if self._keep and (args.load_best_model_at_end or args.metric_for_best_model):
            log.warning("the evaluator's best checkpoint is not spared: metric_for_best_model decides what is")
            self._keep = False
        if self._keep:
            state.best_model_checkpoint = None  # of an earlier run of this training, as its last save left it

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kw: Any) -> None:
        if control.should_save:
            self._follow(args, state, control)

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kw: Any) -> None:
        if control.should_save:
            self._follow(args, state, control)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kw: Any) -> None:
        self._saved.add(state.global_step)
        if self._spared is not None:
            state.best_model_checkpoint = self._spared = None

    def _follow(self, args: TrainingArguments, state: TrainerState, control: TrainerControl) -> None:
        folder = ModelFolder(Path(str(args.output_dir)))
        advice = self._advice(folder) if state.is_world_process_zero else None
        if self._keep and advice:
            self._spare(folder, state, advice)
        if self._stop and _on_every_process(bool(advice and advice.stop)):
            control.should_training_stop = True
            if advice:
                log.warning(
                    "training stops at step %d, as the evaluator suggests: %s", state.global_step, advice.reason
                )

    def _spare(self, folder: ModelFolder, state: TrainerState, advice: Advice) -> None:
        assert advice.best.step is not None
        best = folder.checkpoint(advice.best.step)
        marker = _marker(best)
        if marker and marker.key(folder.root.name) == advice.best:
            state.best_model_checkpoint = self._spared = str(best)

    def _advice(self, folder: ModelFolder) -> Advice | None:
        """The advice about this run, if there is any yet."""
        for step in self._saved:
            if marker := _marker(folder.checkpoint(step)):
                self._runs.add(marker.run_id)
        try:
            document = orjson.loads(read_bounded(reports_of(folder).advice, MAX_ADVICE_BYTES))
            about = document["models"][folder.root.name]
            best = about["best"]
            advice = Advice(
                run_id=str(about["newest_run_id"]),
                newest_step=int(about["newest_step"]),
                best=CheckpointKey(folder.root.name, int(best["step"]), str(best["manifest_hash"])),
                stop=about["stop"]["suggested"] is True,
                reason=str(about["stop"]["reason"]),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.debug("no advice: %s", error)
            return None
        return advice if advice.run_id in self._runs else None


def _marker(checkpoint: Path) -> Marker | None:
    try:
        return parse_marker(read_bounded(checkpoint / MARKER_NAME, MAX_MARKER_BYTES))
    except (OSError, InvalidMarker):
        return None


def _on_every_process(decision: bool) -> bool:
    """What the main process decided; every process must end at the same step."""
    decided: list[bool] = broadcast_object_list([decision], from_process=0)
    return decided[0]
