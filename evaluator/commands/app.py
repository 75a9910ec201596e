"""The command ``sidestep-evaluator``: its commands, each in a module of its own that is loaded when it is asked for.

These modules say what a command can be told, and load what does the work when it runs: help must not wait for it.
"""

from __future__ import annotations

from sidestep.shared.commands.program import Program
from sidestep.shared.commands.sources import EVALUATOR

ABOUT = "Evaluate every checkpoint that a training publishes, beside it or afterwards."
COMMANDS = ("watch", "rerun", "status", "history", "compare", "gate", "serve", "export", "schema", "health")
WITH_SUBCOMMANDS = ("suite", "config")

program = Program("sidestep-evaluator", tables=(EVALUATOR,), about=ABOUT)
for position, name in enumerate(COMMANDS):
    program.app.command(f"sidestep.evaluator.commands.{name}:{name}", name=name, sort_key=position)
for name in WITH_SUBCOMMANDS:
    program.app.command(f"sidestep.evaluator.commands.{name}:app", name=name)


def main() -> None:
    program.run()
