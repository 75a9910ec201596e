"""Drafts: the same answers in fewer steps, and none where they do not pay."""

from __future__ import annotations

import pytest

from sidestep.evaluator.cases.exchange import Decoding
from sidestep.evaluator.engine.replay import MAX_DRAFT, DraftSource, Replay, StepCosts, draft_lengths
from sidestep.evaluator.engine.transformers_engine import TransformersEngine
from tests.fakes.engine_requests import GREEDY, answers_of, random_requests, texts_of


def test_costs_are_a_line_through_what_was_observed() -> None:
    costs = StepCosts()
    for tokens in range(4, 64, 4):
        costs.observe(tokens, 0.01 + 0.0005 * tokens)
    fixed, per_token = costs.estimate() or (0.0, 0.0)
    assert (fixed, per_token) == (pytest.approx(0.01), pytest.approx(0.0005))


@pytest.mark.parametrize("observed", [[], [(8, 0.1)] * 40, [(4, 0.3), (8, 0.1)] * 20])
def test_costs_that_say_nothing_are_not_believed(observed: list[tuple[int, float]]) -> None:
    costs = StepCosts()
    for tokens, seconds in observed:
        costs.observe(tokens, seconds)
    assert costs.estimate() is None


@pytest.mark.parametrize(
    ("rates", "fixed", "per_token", "expected"),
    [
        ([0.9], 0.010, 0.0003, MAX_DRAFT),  # one long answer left: nearly free
        ([0.9] * 64, 0.0, 0.001, 0),  # nothing is shared: a draft can only cost
        ([0.0] * 4, 0.010, 0.0003, 0),
        ([1.0], 0.010, 0.0003, MAX_DRAFT),
    ],
)
def test_drafts_are_as_long_as_they_pay(rates: list[float], fixed: float, per_token: float, expected: int) -> None:
    assert draft_lengths(rates, fixed, per_token) == [expected] * len(rates)


def test_fewer_live_cases_and_better_drafts_mean_longer_drafts() -> None:
    alone, crowd = draft_lengths([0.7], 0.013, 0.0003)[0], draft_lengths([0.7] * 48, 0.013, 0.0003)[0]
    assert alone > crowd
    sure, unsure = draft_lengths([0.9, 0.4, 0.4, 0.4], 0.013, 0.0003)[:2]
    assert sure > unsure


def test_a_draft_is_what_followed_before() -> None:
    source = DraftSource((5, 6, 7, 8, 9, 10))
    assert source.continuation([5, 6]) == ((7, 8, 9, 10), "agrees")
    assert source.continuation([1, 7, 8]) == ((9, 10), "resumes")
    assert source.continuation([1, 2]) == ((), "resumes")
    assert source.continuation([5, 6, 7, 8, 9, 10]) == ((), "agrees")


def test_an_answer_that_repeats_itself_is_drafted_from_itself() -> None:
    source, answer, period = DraftSource(), [1, 2], [7, 8, 9]
    for _ in range(4):
        answer += period
        drafted, kind = source.continuation(answer)
    assert kind == "repeats" and list(drafted) == (period * MAX_DRAFT)[:MAX_DRAFT]
    drafted, kind = source.continuation([*answer, 7, 5])
    assert (list(drafted), kind) == ([], "resumes")


def test_rates_follow_what_was_verified() -> None:
    replay = Replay()
    before = replay._rates["agrees"].rate
    replay.learn([("agrees", 4, 4)] * 20)
    assert replay._rates["agrees"].rate > before
    replay.learn([("agrees", 4, 0)] * 200)
    replay.learn([("resumes", 0, 0)])
    assert replay._rates["agrees"].rate < 0.1


@pytest.mark.parametrize("stop", [(), ("e",)])
def test_answers_with_drafts_are_the_same_in_fewer_steps(
    engine: TransformersEngine, stop: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = random_requests(9)
    decoding = Decoding(max_new_tokens=24, stop=stop)
    monkeypatch.setattr(engine, "replay", None)
    plain, plain_steps = texts_of(answers_of(engine, requests, decoding)), _steps(engine, decoding)
    replay = Replay()
    monkeypatch.setattr(replay.costs, "estimate", lambda: (0.01, 0.0001))  # drafts pay
    monkeypatch.setattr(engine, "replay", replay)
    first = texts_of(answers_of(engine, requests, decoding))
    assert first == plain
    assert texts_of(answers_of(engine, requests, decoding)) == plain
    assert _steps(engine, decoding) < plain_steps
    # drafts that are wrong from some point on
    for key, answer in list(replay._answers.items()):
        replay._answers[key] = (*answer[:5], 3, *answer[6:9], 4)
    assert texts_of(answers_of(engine, requests, decoding)) == plain


def _steps(engine: TransformersEngine, decoding: Decoding = GREEDY) -> int:
    steps = [0]

    def count(tokens: int) -> None:
        steps[0] += 1

    engine.answer(random_requests(9), decoding, lambda answer: None, count)
    return steps[0]
