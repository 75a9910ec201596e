"""Options of what is asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from sidestep.shared.commands.choices import DecodingChoice
from sidestep.shared.commands.options.panels import FIRST, SUITE


@Parameter(name="*", group=SUITE)
@dataclass(frozen=True, kw_only=True)
class SuiteOptions:
    """What is asked, and how answers are made. Results are comparable only where these are the same."""

    suite: Annotated[Path | None, Parameter(group=FIRST)] = None
    """Test cases; default: evaluation.suite of the manifest, else tests/test_cases.json of the expert."""
    decoding: DecodingChoice = DecodingChoice.GREEDY
    """greedy, or manifest: sampling as its training.decoding says."""
    max_new_tokens: Annotated[int | None, Parameter(validator=Number(gte=1))] = None
    """Longest answer, in tokens (at least 1); default: evaluation.decoding of the manifest, else 200."""
