"""The real engine: a transformers model, adapters merged into it, answers through the decode loop over slots."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sidestep.evaluator.cases.exchange import Answer, Decoding, EngineInfo, Request
from sidestep.evaluator.engine import device_memory, ragged
from sidestep.evaluator.engine.adapters import ResidentModel
from sidestep.evaluator.engine.chat import ChatTokenizer
from sidestep.evaluator.engine.decode import PROMPT_TOO_LONG, DecodeLoop, Forward
from sidestep.evaluator.engine.forward_choice import ForwardChoice, prepare_forward
from sidestep.evaluator.engine.loading import ensure_chat_template, fingerprint, load_base_model
from sidestep.evaluator.engine.plan import Plan, Prompt, longest_first, make_plan
from sidestep.evaluator.engine.protocol import OnAnswer, OnStep
from sidestep.evaluator.engine.reference import answer_one_by_one
from sidestep.evaluator.engine.replay import Replay
from sidestep.evaluator.engine.samples import collect_samples, expand_samples, samples_per_prompt
from sidestep.evaluator.settings import EngineSettings
from sidestep.shared.errors import DeviceOutOfMemory
from sidestep.shared.logs import get_logger

log = get_logger("evaluator.engine")


def create(settings: EngineSettings) -> TransformersEngine:
    """Load the base model and prepare it: limit its memory, find out how it is answered for.

    Raises BaseModelError or ConfigError with the remedy, or DeviceOutOfMemory.
    """
    model, tokenizer = load_base_model(settings)
    device_memory.limit_memory(model.device, settings.memory_share)
    notes = [note for note in [ensure_chat_template(tokenizer, settings.prompt_template)] if note]
    unsupported = ragged.why_unsupported(model)
    forward_choice = None if unsupported else prepare_forward(model)
    exact = False
    if forward_choice is None:
        notes.append(f"answers come one by one from transformers' generate: {unsupported}")
    else:
        notes += forward_choice.notes
        exact = forward_choice.row_group.exact
        if settings.quantization != "none":
            exact = False  # adapters stay beside the base: their products were not tried
            notes.append(f"the base model is quantized to {settings.quantization}; adapters are not merged")
    drafts = forward_choice is not None and (exact if settings.replay is None else settings.replay)
    info = _describe(settings, model, tuple(notes), exact)
    log.info("evaluating on %s in %s; %s", info.device, info.dtype, "; ".join(notes))
    return TransformersEngine(model, tokenizer, info, forward_choice, Replay() if drafts else None)


def _describe(settings: EngineSettings, model: PreTrainedModel, notes: tuple[str, ...], exact: bool) -> EngineInfo:
    packages = ("sidestep", "torch", "transformers", "peft")
    return EngineInfo(
        base_model=settings.base_model,
        base_fingerprint=fingerprint(settings.base_model),
        device=str(model.device),
        dtype=str(model.dtype).removeprefix("torch."),
        versions={name: importlib.metadata.version(name) for name in packages},
        notes=notes,
        exact=exact,
    )


@dataclass(frozen=True)
class _Prepared:
    """A forward pass that fits a plan; kept from one checkpoint to the next."""

    plan: Plan
    forward: Forward


class TransformersEngine:
    """See ``protocol.Engine``."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        info: EngineInfo,
        forward_choice: ForwardChoice | None,
        replay: Replay | None,
    ) -> None:
        """``forward_choice`` is None for a model that only transformers' ``generate`` can answer for."""
        self.model = model
        self.replay = replay
        self._tokenizer = ChatTokenizer(tokenizer, model)
        self._info = info
        self._choice = forward_choice
        self._fused = forward_choice.fused if forward_choice else None
        self._resident = ResidentModel(model)
        self._parking = device_memory.Parking(model, model.device)
        self._prepared: _Prepared | None = None
        self._threads = torch.get_num_threads()

    @property
    def info(self) -> EngineInfo:
        return self._info

    def attach(self, folder: Path) -> None:
        self._unpark()
        self._resident.attach(folder)
        self._refresh()

    def detach(self) -> None:
        self._resident.detach()
        self._refresh()

    def _refresh(self) -> None:
        if self._fused:
            self._fused.refresh(self._resident.changed_parameters)

    def set_training_active(self, active: bool) -> None:
        if self.model.device.type == "cpu":
            torch.set_num_threads(max(1, self._threads // 2) if active else self._threads)

    def park(self) -> None:
        self.detach()
        self._prepared = None
        if self._fused and self.model.device.type != "cpu":
            self._fused.release_weights()  # or its copies of the weights would stay on the device
        self._parking.park()

    def _unpark(self) -> None:
        if _runs_out_of_memory(self._parking.unpark):
            raise DeviceOutOfMemory("the device has too little free memory to bring the base model back")
        if self._fused and not self._fused.layers:
            self._fused.load_weights()

    def answer(
        self,
        requests: Sequence[Request],
        decoding: Decoding,
        on_answer: OnAnswer,
        on_step: OnStep,
        plan_for: Sequence[Request] = (),
    ) -> None:
        self._unpark()
        prompts = {request.case_id: self._prompt(request, decoding) for request in (*plan_for, *requests)}
        fitting = [prompt for prompt in prompts.values() if prompt.limit > 0]
        requested = [prompts[request.case_id] for request in requests]
        for prompt in requested:
            if prompt.limit <= 0:
                on_answer(Answer(prompt.case_id, "", len(prompt.tokens) - prompt.virtual, 0, PROMPT_TOO_LONG, 0.0))
        samples = samples_per_prompt(decoding)
        todo = expand_samples(longest_first([prompt for prompt in requested if prompt.limit > 0]), samples)
        on_sample = collect_samples(samples, on_answer)
        if self._choice is None:
            detokenizer = self._tokenizer.detokenizer
            answer_one_by_one(self._resident, todo, detokenizer, decoding, on_sample, on_step)
        elif todo:
            self._answer_in_slots(todo, self._plan(fitting), decoding, on_sample, on_step)

    def _answer_in_slots(
        self, todo: list[Prompt], plan: Plan, decoding: Decoding, on_answer: OnAnswer, on_step: OnStep
    ) -> None:
        """Answer with as many slots as fit; after an out-of-memory with half of them."""
        left = {(prompt.case_id, prompt.sample): prompt for prompt in todo}

        def on_sample(answer: Answer) -> None:
            del left[answer.case_id, answer.sample]
            on_answer(answer)

        def run(slots: int) -> None:
            forward = self._forward_for(Plan(slots, plan.capacity))
            loop = DecodeLoop(forward, slots, self._tokenizer.detokenizer, decoding, self.replay)
            loop.run(list(left.values()), on_sample, on_step)

        slots = plan.slots
        while left:
            if not _runs_out_of_memory(partial(run, slots)):
                return
            self._prepared = None
            torch.cuda.empty_cache()
            if slots == 1:
                raise DeviceOutOfMemory("the device has too little free memory for a single case")
            slots //= 2
            log.warning("out of memory: going on with %d cases at a time", slots)

    def _plan(self, suite: list[Prompt]) -> Plan:
        config = self.model.config
        size = torch.finfo(self.model.dtype).bits // 8
        per_position = 2 * config.num_hidden_layers * config.num_key_value_heads * ragged.head_size(self.model) * size
        held = self._prepared.plan.slots * self._prepared.plan.capacity * per_position if self._prepared else 0
        budget = device_memory.cache_budget(self.model.device, held)
        return make_plan(suite, bytes_per_position=per_position, memory_bytes=budget)

    def _forward_for(self, plan: Plan) -> Forward:
        """Slots for this plan, cleared: what a broken checkpoint left in them must not reach the next one."""
        assert self._choice is not None
        if self._prepared is None or self._prepared.plan != plan:
            self._prepared = None  # its memory is free before the next one takes some
            self._prepared = _Prepared(plan, self._choice.new_forward(self.model, plan))
        else:
            self._prepared.forward.slots.clear()
        self._prepared.forward.soft_prompt = self._resident.soft_prompt
        return self._prepared.forward

    def _prompt(self, request: Request, decoding: Decoding) -> Prompt:
        soft_prompt = self._resident.soft_prompt
        return self._tokenizer.prompt(request, decoding, 0 if soft_prompt is None else soft_prompt.shape[0])


def _runs_out_of_memory(action: Callable[[], None]) -> bool:
    """Do it, and say whether memory ran out. What is to be done then must happen outside of the handler: an exception
    that is being handled keeps the tensors of its frames alive."""
    try:
        action()
    except torch.OutOfMemoryError:
        return True
    return False
