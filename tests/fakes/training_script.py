"""Somebody's training script: a plain transformers Trainer on a tiny model, run as a process of its own by tests.

    python tests/fakes/training_script.py '{"base_model": …, "output_dir": …, "arguments": {…}, "publisher": {…}}'

``arguments`` go to TrainingArguments, ``publisher`` to PublishCheckpoint (null: none), ``launch`` to LaunchOptions.
``kill``: where in a save the process is killed (tests.fakes.killed_save). ``sigterm_at``: the step after which it gets
SIGTERM; with ``sigterm_after_save``, right after that step's save. ``slow_hash``: seconds that publishing takes more
per file of weights. Prints the losses as its last line.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import transformers
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainerCallback, TrainingArguments

from sidestep import LaunchOptions, PublishCheckpoint

DEFAULTS: dict[str, Any] = {
    "max_steps": 6, "per_device_train_batch_size": 1, "save_steps": 2, "logging_steps": 1, "report_to": [],
    "use_cpu": True, "disable_tqdm": True,
}  # fmt: skip


class SignalAt(TrainerCallback):
    """Sends this process a signal after a step or its save, as a scheduler that takes the machine away does."""

    def __init__(self, step: int, number: int, *, after_save: bool) -> None:
        self.step, self.number, self.after_save = step, number, after_save

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step and not self.after_save:
            self._send()

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step and self.after_save:
            self._send()

    def _send(self) -> None:
        os.kill(os.getpid(), self.number)
        signal.sigtimedwait([], 0.2)


def make_hashes_slow(seconds: float) -> None:
    """As those of large files are: publishing lasts into the next step."""
    from sidestep.shared.protocol import outbox

    sha256_of: Callable[[int], tuple[int, str]] = vars(outbox)["sha256_of"]

    def slow(descriptor: int) -> tuple[int, str]:
        time.sleep(seconds)
        return sha256_of(descriptor)

    vars(outbox)["sha256_of"] = slow


def main(request: dict[str, Any]) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    rows = Dataset.from_list([{"input_ids": [5, 6, 7, 8 + n], "labels": [5, 6, 7, 8 + n]} for n in range(20)])
    callbacks: list[TrainerCallback] = []
    if request.get("publisher") is not None:
        options: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in request.get("launch", {}).items()
        }
        callbacks.append(PublishCheckpoint(**request["publisher"], evaluator=LaunchOptions(**options)))
    if "sigterm_at" in request:
        from transformers import trainer_jit_checkpoint

        waits = trainer_jit_checkpoint.CheckpointManager.__init__
        waits.__defaults__ = (0,)  # its grace period of three seconds, in which a tiny model trains to the end
        after_save = request.get("sigterm_after_save", False)
        callbacks.append(SignalAt(request["sigterm_at"], signal.SIGTERM, after_save=after_save))
    if "slow_hash" in request:
        make_hashes_slow(request["slow_hash"])
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
    ended = {"losses": losses, "step": trainer.state.global_step, "transformers": transformers.__version__}
    sys.stdout.write(json.dumps(ended) + "\n")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
