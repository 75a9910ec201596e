"""From requests to token ids and back, with the base model's own tokenizer and chat template."""

from __future__ import annotations

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sidestep.evaluator.cases.exchange import Decoding, Request
from sidestep.evaluator.engine.decode import Detokenizer
from sidestep.evaluator.engine.plan import Prompt

_UNLIMITED = 1 << 30  # positions


class ChatTokenizer:
    """The tokenizer of a base model that has a chat template."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
        self._tokenizer = tokenizer
        self._vocabulary: int = model.get_input_embeddings().weight.shape[0]
        self._max_positions: int = getattr(model.config, "max_position_embeddings", _UNLIMITED)
        configured = model.generation_config.eos_token_id
        ends = configured if isinstance(configured, list) else [configured]
        self.detokenizer = Detokenizer(
            frozenset(end for end in (*ends, tokenizer.eos_token_id) if end is not None),
            lambda tokens: str(tokenizer.decode(list(tokens), skip_special_tokens=True)),
        )

    def prompt(self, request: Request, decoding: Decoding, virtual: int = 0) -> Prompt:
        """The request as token ids; with limit 0 when the prompt alone is too long for the model.

        ``virtual`` tokens of a soft prompt are in front, as ids past the vocabulary. A reference that does not fit
        behind the prompt is left out.
        """
        messages = [{"role": message.role, "content": message.content} for message in request.messages]
        text = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        tokens = (*range(self._vocabulary, self._vocabulary + virtual), *self._ids(text))
        room = max(0, self._max_positions - len(tokens) - 1)
        reference = self._ids(request.reference) if request.reference else ()
        return Prompt(
            request.case_id,
            tokens,
            limit=min(request.max_new_tokens or decoding.max_new_tokens, room),
            reference=reference if len(reference) <= room else (),
            virtual=virtual,
        )

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"])
