"""Somebody's training script: a plain transformers Trainer on a tiny model, run as a process of its own by tests.

    python tests/fakes/training_script.py '{"base_model": …, "output_dir": …, "arguments": {…}, "publisher": {…}}'

``arguments`` go to TrainingArguments, ``publisher`` to PublishCheckpoint (null: none), ``launch`` to LaunchOptions.
``kill``: where in a save the process is killed (tests.fakes.killed_save). Prints the losses as its last line.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainerCallback, TrainingArguments

from trainer.evaluator_process import LaunchOptions
from trainer.publisher import PublishCheckpoint

DEFAULTS: dict[str, Any] = {
    "max_steps": 6, "per_device_train_batch_size": 1, "save_steps": 2, "logging_steps": 1, "report_to": [],
    "use_cpu": True, "disable_tqdm": True,
}  # fmt: skip


class SignalAt(TrainerCallback):
    """Sends this process a signal after a step, as a scheduler that takes the machine away does."""

    def __init__(self, step: int, number: int) -> None:
        self.step, self.number = step, number

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            os.kill(os.getpid(), self.number)
            signal.sigtimedwait([], 0.2)


def main(request: dict[str, Any]) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    rows = Dataset.from_list([{"input_ids": [5, 6, 7, 8 + n], "labels": [5, 6, 7, 8 + n]} for n in range(20)])
    callbacks: list[TrainerCallback] = []
    if request.get("publisher") is not None:
        options = {key: tuple(v) if isinstance(v, list) else v for key, v in request.get("launch", {}).items()}
        callbacks.append(PublishCheckpoint(**request["publisher"], evaluator=LaunchOptions(**options)))
    if "sigterm_at" in request:
        from transformers import trainer_jit_checkpoint

        waits = trainer_jit_checkpoint.CheckpointManager.__init__
        waits.__defaults__ = (0,)  # its grace period of three seconds, in which a tiny model trains to the end
        callbacks.append(SignalAt(request["sigterm_at"], signal.SIGTERM))
    if "kill" in request:
        from tests.fakes.killed_save import arm

        arm(request["kill"], int(request.get("kill_step", 4)))
    trainer = Trainer(
        model=AutoModelForCausalLM.from_pretrained(request["base_model"]),
        args=TrainingArguments(output_dir=request["output_dir"], **{**DEFAULTS, **request.get("arguments", {})}),
        train_dataset=rows,
        eval_dataset=rows,
        processing_class=AutoTokenizer.from_pretrained(request["base_model"]),
        callbacks=callbacks,
    )
    trainer.train(resume_from_checkpoint=request.get("resume"))
    if request.get("fail_after"):
        raise RuntimeError("the script failed after its training")
    losses = {row["step"]: row["loss"] for row in trainer.state.log_history if "loss" in row}
    sys.stdout.write(json.dumps({"losses": losses, "step": trainer.state.global_step}) + "\n")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
