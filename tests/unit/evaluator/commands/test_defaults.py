"""Defaults and names that help texts give, against the places that decide: help must not load these to say them."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from sidestep.evaluator.cases.exchange import Decoding
from sidestep.evaluator.commands.build_settings import build_settings
from sidestep.evaluator.commands.schema import DOCUMENT_NAMES
from sidestep.evaluator.presenting.schema import DOCUMENTS
from sidestep.evaluator.settings import EvaluatorSettings
from sidestep.shared.commands.choices import Order
from sidestep.shared.commands.options import EvaluationOptions
from sidestep.shared.protocol.presence import FRESH_SECONDS
from tests.fakes.command_lines import help_page


def test_defaults_in_help_texts() -> None:
    assert f"alive; default: {FRESH_SECONDS:g}." in help_page(["sidestep-evaluator", "health"])
    assert f"the manifest, else {Decoding().max_new_tokens}." in help_page(["sidestep-evaluator", "watch"])
    assert tuple(DOCUMENTS) == DOCUMENT_NAMES


def test_nothing_given_means_the_settings_own_defaults(tmp_path: Path) -> None:
    settings = build_settings(tmp_path, EvaluationOptions(), order=Order.NEWEST)
    plain = EvaluatorSettings(settings.place, settings.engine, settings.suite_path)
    assert {field.name: getattr(settings, field.name) for field in fields(EvaluatorSettings)} == {
        field.name: getattr(plain, field.name) for field in fields(EvaluatorSettings)
    }
