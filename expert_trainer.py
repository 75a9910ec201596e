"""The Rust host's entry: ``python expert_trainer.py CONFIG.json`` and ``from expert_trainer import train_expert``."""

from sidestep.trainer.__main__ import main
from sidestep.trainer.host import train_expert

__all__ = ["train_expert"]

if __name__ == "__main__":
    main()
