"""docs/contract-fields.md is complete: every field of the host's contract, what it does, and a test that exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from sidestep.trainer.config.fields import FIELD_NAMES

REPOSITORY = Path(__file__).resolve().parents[4]
DOCUMENT = REPOSITORY / "docs" / "contract-fields.md"
FIELDS = """base_model_name quantization dataset_path output_dir device adapter_type target_modules epochs
    learning_rate batch_size gradient_accumulation_steps lr_scheduler rank alpha method feedforward_modules dropout
    warmup_steps warmup_ratio validation_path test_path use_unsloth max_seq_length dataloader_num_workers
    dataloader_pin_memory dataloader_prefetch_factor dataloader_persistent_workers fp16 bf16 use_tf32 use_sdpa
    flash_attention_2 memory_efficient_attention activation_checkpointing packing torch_compile torch_compile_backend
    torch_compile_mode optim group_by_length save_steps save_strategy save_total_limit evaluation_strategy eval_steps
    load_best_model_at_end metric_for_best_model greater_is_better logging_steps gradient_checkpointing
    gradient_checkpointing_kwargs lr_scheduler_kwargs pretokenized_cache use_cuda_graphs cuda_graph_warmup_steps
    field_mapping text_field format prompt_template streaming max_in_memory_samples use_pretokenized dataset_type
    multi_task_config resume_checkpoint soft_prompts"""
CONTRACT = FIELDS.split()


def _rows() -> dict[str, tuple[str, list[str]]]:
    """Field -> what it does, and the tests named for it."""
    rows = {}
    for line in DOCUMENT.read_text().splitlines():
        if found := re.fullmatch(r"\| `(\w+)` \| (.+) \| (.+) \|", line):
            assert found[1] not in rows, f"{found[1]} is there twice"
            rows[found[1]] = (found[2], re.findall(r"`(\S+::\w+)`", found[3]))
    return rows


def _functions(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


def test_every_field_of_the_contract_is_in_the_table_and_in_the_configuration() -> None:
    assert sorted(_rows()) == sorted(CONTRACT)
    assert set(CONTRACT) <= set(FIELD_NAMES)


@pytest.mark.parametrize("field", CONTRACT)
def test_what_a_field_does_is_held_by_tests_that_exist(field: str) -> None:
    effect, tests = _rows()[field]
    assert effect.strip()
    assert tests
    for test in tests:
        path, name = test.split("::")
        assert name in _functions(REPOSITORY / "tests" / path), f"{test} does not exist"
