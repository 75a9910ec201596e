"""What trainings import before they begin, for a process from which many trainings are forked."""

from trl import DPOTrainer, GRPOTrainer, SFTTrainer

import sidestep.trainer.cli
import sidestep.trainer.trainer
from tests.fakes import killed_save, training_script

__all__ = ["DPOTrainer", "GRPOTrainer", "SFTTrainer", "killed_save", "sidestep", "training_script"]
