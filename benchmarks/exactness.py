"""Are answers the same bits in every layout? Real checkpoints, five layouts, with and without drafts.

    python -m benchmarks.exactness [--checkpoints 6] [--cases 64]

Prints how many answers differ from those of one suite in 64 slots without drafts; anything but 0 is a defect.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path

from benchmarks.workload import prepare_workload
from sidestep.evaluator.cases.exchange import Answer, Decoding, Request
from sidestep.evaluator.engine.replay import Replay
from sidestep.evaluator.engine.transformers_engine import TransformersEngine, create
from sidestep.evaluator.settings import EngineSettings

LAYOUTS = ("one by one", "7", "32", "64", "shuffled")


def answers(
    engine: TransformersEngine, requests: Sequence[Request], batch_size: int, decoding: Decoding
) -> dict[str, str]:
    """Texts by case, in batches of ``batch_size`` cases."""
    found: dict[str, str] = {}

    def keep(answer: Answer) -> None:
        found[answer.case_id] = f"{answer.output_tokens} {answer.text}"

    for start in range(0, len(requests), batch_size):
        engine.answer(requests[start : start + batch_size], decoding, keep, lambda tokens: None)
    return found


def answers_in_layout(
    engine: TransformersEngine, requests: Sequence[Request], decoding: Decoding, layout: str
) -> dict[str, str]:
    """Texts by case, in one of LAYOUTS."""
    if layout == "shuffled":
        requests = random.Random(1).sample(list(requests), len(requests))
    batch_size = {"one by one": 1, "7": 7, "32": 32}.get(layout, len(requests))
    return answers(engine, requests, batch_size, decoding)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoints", type=int, default=6)
    parser.add_argument("--cases", type=int, default=64)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--quick", action="store_true", help="two checkpoints and 16 cases")
    given = parser.parse_args()
    count, cases = (2, 16) if given.quick else (given.checkpoints, given.cases)
    workload = prepare_workload()
    requests, decoding = list(workload.requests)[:cases], Decoding(max_new_tokens=96)
    engine = create(EngineSettings(str(workload.base_model), device="cpu", dtype=given.dtype))
    replay, wrong, total = Replay(), 0, 0
    print(f"dtype {engine.info.dtype}; {'; '.join(engine.info.notes)}")
    print(
        "\n| checkpoint | " + " | ".join(f"{layout}, {how}" for layout in LAYOUTS for how in ("plain", "drafts")) + " |"
    )
    print("|---|" + "---|" * (2 * len(LAYOUTS)))
    for checkpoint in list(workload.checkpoints)[-count:]:
        engine.attach(Path(checkpoint))
        engine.replay = None
        wanted = answers(engine, requests, len(requests), decoding)
        row = []
        for layout in LAYOUTS:
            for kept in (None, replay):
                engine.replay = kept
                found = answers_in_layout(engine, requests, decoding, layout)
                bad = sum(found[case] != text for case, text in wanted.items())
                wrong, total = wrong + bad, total + len(wanted)
                row.append(str(bad))
        engine.detach()
        print(f"| {Path(checkpoint).name} | " + " | ".join(row) + " |", flush=True)
    print(f"\n{wrong} of {total} answers differ")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
