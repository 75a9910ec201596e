"""Titles and order of the help's panels, limits, and the two parameters that are not in a group."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter
from cyclopts.validators import Number

LOOPBACK = "127.0.0.1"

# Panels of the help, in this order. The options that most people need come first, whichever group they belong to.
FIRST = Group("Most used", sort_key=0)
THIS_COMMAND = Group("This command", sort_key=1)
MODEL = Group("Model and device", sort_key=2)
FOLDERS = Group("Folders", sort_key=3)
TRAINING = Group("Training", sort_key=4)
SUITE = Group("Test cases and answers", sort_key=5)
SHARING = Group("Order and sharing", sort_key=6)
OUTLETS = Group("Where results also go", sort_key=7)
GATES = Group("Gates", sort_key=8)
UPKEEP = Group("Upkeep and logging", sort_key=9)

HIDDEN = Parameter(show=False)
PORT = Number(gte=0, lte=65535)
RATE = Number(gte=0, lte=1)

ExpertPath = Annotated[
    Path, Parameter(name="PATH", help="An expert's folder, its weights folder, or a training's output folder.")
]
AsJson = Annotated[bool, Parameter(name="--json", group=THIS_COMMAND, help="Print JSON.")]
