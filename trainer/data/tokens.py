"""From an example to tokens and labels: the base model's own chat template, and loss on the assistant's part alone.

Every assistant's turn is learnt, not only the last one. Where its tokens begin and end is found by rendering the
conversation up to it and comparing tokens, which needs nothing from the template but that it renders turns in order
(the method of TRL's prompt and completion data, applied to each turn). A template that writes an earlier turn
differently once more turns follow, as those do that drop old thoughts, leaves that turn unlearnt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import datasets
import jinja2
from transformers import PreTrainedTokenizerBase

from sidestep.trainer.data.chat import ChatMessage
from sidestep.trainer.data.rows import Example, UnusableRow

IGNORED = -100
"""Label of a token without loss, as torch's cross entropy has it."""

TOKEN_FEATURES = datasets.Features(
    {"input_ids": datasets.List(datasets.Value("int32")), "labels": datasets.List(datasets.Value("int32"))}
)
_MESSAGES = datasets.List({"role": datasets.Value("string"), "content": datasets.Value("string")})
PREFERENCE_FEATURES = datasets.Features({"prompt": _MESSAGES, "chosen": _MESSAGES, "rejected": _MESSAGES})


def tokenize(example: Example, tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Token ids and labels of the whole example. Raises UnusableRow when the template cannot render it."""
    if example.text is not None:
        ids = list(tokenizer(example.text)["input_ids"])
        end = tokenizer.eos_token_id
        ids += [end] if isinstance(end, int) and ids[-1:] != [end] else []
        return ids, list(ids)
    messages = example.messages
    ids = render(tokenizer, messages)
    labels = [IGNORED] * len(ids)
    for begin, end in _learnt_parts(tokenizer, messages, example.learn_from, ids):
        labels[begin:end] = ids[begin:end]
    if not any(label != IGNORED for label in labels):
        raise UnusableRow("the chat template leaves nothing of the answer")
    return ids, labels


def _learnt_parts(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[ChatMessage], learn_from: int, ids: list[int]
) -> Iterator[tuple[int, int]]:
    last = len(messages) - 1
    for at, message in enumerate(messages):
        if message["role"] != "assistant" or at < learn_from:
            continue
        prompt = render(tokenizer, messages[:at], answer_follows=True) if at else []
        begin = common_length(prompt, ids)
        if at == last:
            yield begin, len(ids)
        elif begin == len(prompt):
            yield begin, common_length(render(tokenizer, messages[: at + 1]), ids)


def render(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[ChatMessage], *, answer_follows: bool = False
) -> list[int]:
    """Token ids of messages in the chat template. Raises UnusableRow when the template refuses them."""
    try:
        encoded = tokenizer.apply_chat_template(
            [dict(message) for message in messages], add_generation_prompt=answer_follows, return_dict=True
        )
    except jinja2.TemplateError as error:
        raise UnusableRow(f"the chat template refuses it: {error}") from error
    return list(encoded["input_ids"])


def common_length(left: Sequence[int], right: Sequence[int]) -> int:
    """How many items from the start are the same."""
    pairs = enumerate(zip(left, right, strict=False))
    return next((at for at, (one, other) in pairs if one != other), min(len(left), len(right)))


def cut(ids: Sequence[int], labels: Sequence[int], longest: int) -> dict[str, Sequence[int]]:
    """The first ``longest`` tokens. Raises UnusableRow when no token with loss is among them."""
    if not any(label != IGNORED for label in labels[:longest]):
        if not any(label != IGNORED for label in labels):
            raise UnusableRow("no token of it has a loss")
        raise UnusableRow(f"max_seq_length {longest} cuts the answer off")
    return {"input_ids": ids[:longest], "labels": labels[:longest]}


def preference(example: Example, tokenizer: PreTrainedTokenizerBase, longest: int) -> dict[str, Any]:
    """Prompt and both answers as TRL's DPOTrainer takes them. Raises UnusableRow when no answer would be left."""
    if len(render(tokenizer, example.prompt, answer_follows=True)) >= longest:
        raise UnusableRow(f"max_seq_length {longest} cuts the answers off")
    return {
        "prompt": list(example.prompt),
        "chosen": [example.messages[-1]],
        "rejected": [example.rejected],
    }
