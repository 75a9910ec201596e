"""The command ``sidestep``: co-launch of trainer and evaluator."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Annotated

from cyclopts import Parameter

from sidestep.shared.commands.exit_codes import EXIT_USAGE
from sidestep.shared.commands.options import EvaluationOptions, TrainingOptions
from sidestep.shared.commands.program import Program
from sidestep.shared.commands.sources import EVALUATION_GROUPS, EVALUATOR, TRAINER_GROUPS, UP

ABOUT = "Fine-tune an expert and evaluate every checkpoint beside the training, which never waits for it."

program = Program("sidestep", tables=("watch", EVALUATOR), about=ABOUT)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class UpOptions:
    """What both processes are told."""

    evaluation: EvaluationOptions = field(default_factory=EvaluationOptions)
    training: TrainingOptions = field(default_factory=TrainingOptions)


DEFAULTS = UpOptions()


@program.app.command
def up(
    expert: Annotated[Path, Parameter(name="EXPERT_DIR", help="Folder with manifest.json.")],
    /,
    *,
    options: UpOptions = DEFAULTS,
) -> None:
    """Train EXPERT_DIR and evaluate its checkpoints at the same time; ends when every checkpoint has its report.

    Training is `sidestep-trainer EXPERT_DIR`, evaluation is `sidestep-evaluator watch EXPERT_DIR`.
    """
    from sidestep.shared.launch.co_launch import CoLaunch, python_command
    from sidestep.shared.launch.live_display import is_wanted, show_live_display
    from sidestep.shared.logs import configure_logging
    from sidestep.shared.protocol.layout import ExpertFolder
    from sidestep.shared.protocol.manifest import expert_manifest
    from sidestep.shared.protocol.place import find_place, holds_checkpoints

    evaluation = options.evaluation
    configure_logging(json_lines=evaluation.log.log_json)
    expert_manifest(ExpertFolder(expert))  # a wrong folder is one error here, not one from each process
    trainer = [str(expert), *program.sources.given_to(UP, TRAINER_GROUPS)]
    evaluator = ["watch", str(expert), "--drain-on-stdin-close", *program.sources.given_to(UP, EVALUATION_GROUPS)]
    place = find_place(expert, weights=evaluation.folders.weights_dir)
    with ExitStack() as stack:
        wanted = is_wanted(json_lines=evaluation.log.log_json)
        outputs = open_outputs(stack) if wanted else None
        launch = CoLaunch(
            python_command("sidestep.trainer", *trainer),
            python_command("sidestep.evaluator", *evaluator),
            anything_published=lambda: any(holds_checkpoints(model.root) for model in place.model_folders()),
            outputs=outputs,
            one_session=evaluation.sharing.max_slowdown == 0,
        )
        stack.enter_context(show_live_display(place, wanted=wanted, outputs=outputs or ()))
        ended = launch.run()
    raise SystemExit(EXIT_USAGE if ended.trainer == EXIT_USAGE else ended.exit_code)


def open_outputs(stack: ExitStack) -> tuple[IO[bytes], IO[bytes]]:
    """Two files without names for what both processes print: unlike a pipe, a file never fails its writer.

    Their lines are shown above the live display; should this process be killed, training goes on undisturbed.
    """
    os.environ.setdefault("COLUMNS", str(shutil.get_terminal_size().columns))
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    return stack.enter_context(TemporaryFile("a+b")), stack.enter_context(TemporaryFile("a+b"))


def main() -> None:
    program.run()


if __name__ == "__main__":
    main()
