"""The real engine: a transformers model, adapters through PEFT, answers through the ragged decode loop."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from sidestep.evaluator.cases.exchange import Answer, Decoding, Request
from sidestep.evaluator.engine import device_memory, fused, quantization, ragged
from sidestep.evaluator.engine.adapters import ResidentModel
from sidestep.evaluator.engine.decode import PROMPT_TOO_LONG, DecodeLoop, Language
from sidestep.evaluator.engine.determinism import probe_row_group
from sidestep.evaluator.engine.plan import Plan, Prompt, in_order, make_plan
from sidestep.evaluator.engine.protocol import EngineInfo, OnAnswer, OnStep
from sidestep.evaluator.engine.reference import answer_one_by_one
from sidestep.evaluator.engine.replay import Replay
from sidestep.evaluator.engine.samples import gathering
from sidestep.evaluator.settings import EngineSettings
from sidestep.shared.chat_templates import template_named
from sidestep.shared.cpu_dtype import cpu_dtype
from sidestep.shared.errors import BaseModelError, ConfigError, DeviceOutOfMemory
from sidestep.shared.logs import get_logger
from sidestep.shared.protocol.checkpoint import describe_file, files_that_matter
from sidestep.shared.protocol.manifest import BASE_MODEL_VARIABLE
from sidestep.shared.quantized_weights import keep_exact

log = get_logger("evaluator.engine")


def create(settings: EngineSettings) -> TransformersEngine:
    """Load the base model. Raises BaseModelError or ConfigError with the remedy, or DeviceOutOfMemory."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    device = choose_device(settings.device)
    model, tokenizer = _load(settings, device, getattr(torch, choose_dtype(settings.dtype, device)))
    return TransformersEngine(settings, model, tokenizer)


def choose_device(requested: str) -> str:
    """The device to use. Raises ConfigError when a GPU is asked for and there is none."""
    available = torch.cuda.is_available()
    if requested == "auto":
        return "cuda" if available else "cpu"
    if requested.startswith("cuda") and not available:
        raise ConfigError(f"device {requested!r} was asked for, but no CUDA device is available", hint="--device cpu")
    if requested != "cpu" and not requested.startswith("cuda"):
        raise ConfigError(f"unknown device {requested!r}", hint="auto, cpu, cuda or cuda:N")
    return requested


def choose_dtype(requested: str, device: str) -> str:
    """``auto`` is what the device computes fast."""
    if requested != "auto":
        return requested
    if device == "cpu":
        return cpu_dtype()
    return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"


def _load(settings: EngineSettings, device: str, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    options: dict[str, Any] = {"local_files_only": not settings.allow_hub, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(settings.base_model, **options)
        if settings.quantization != "none":
            options |= {
                "quantization_config": quantization.config_for(settings.quantization, dtype),
                "device_map": device,
            }
        model = AutoModelForCausalLM.from_pretrained(settings.base_model, dtype=dtype, use_safetensors=True, **options)
        model = (model if settings.quantization != "none" else model.to(device)).eval()
        keep_exact(model.modules())
    except torch.OutOfMemoryError:
        pass  # raised below: an exception that is being handled keeps the tensors of its frames alive
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BaseModelError(
            f"the base model {settings.base_model} cannot be loaded: {reason}",
            hint=f"name a model folder with --base-model or {BASE_MODEL_VARIABLE}",
        ) from error
    else:
        return model, tokenizer
    raise DeviceOutOfMemory(f"{device} has too little free memory for {settings.base_model}")


@dataclass
class _Prepared:
    """A forward pass that fits a plan; kept from one checkpoint to the next."""

    plan: Plan
    forward: ragged.RaggedForward | fused.FusedForward


class TransformersEngine:
    """See evaluator.engine.protocol.Engine."""

    def __init__(self, settings: EngineSettings, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._resident = ResidentModel(model)
        self._prepared: _Prepared | None = None
        self._threads = torch.get_num_threads()
        self._parking = device_memory.Parking(model, model.device)
        device_memory.cap(model.device, settings.memory_share)
        notes = []
        if tokenizer.chat_template is None:
            tokenizer.chat_template = template_named(settings.prompt_template or "chatml")
            notes.append(f"the base model has no chat template; {settings.prompt_template or 'chatml'} is used")
        self._exact = False
        self._fused: fused.FusedModel | None = None
        self._replay: Replay | None = None
        self._unsupported = ragged.is_supported(model)
        if self._unsupported is None:
            notes += self._choose_forward()
            if settings.quantization != "none":
                self._exact = False  # adapters stay beside the base: their products were not tried
                notes.append(f"the base model is quantized to {settings.quantization}; adapters are not merged")
            if self._exact if settings.replay is None else settings.replay:
                self._replay = Replay()
        else:
            notes.append(f"answers come one by one from transformers' generate: {self._unsupported}")
        self._info = _describe(settings, model, tuple(notes), self._exact)
        log.info("evaluating on %s in %s; %s", self._info.device, self._info.dtype, "; ".join(notes))

    def _choose_forward(self) -> list[str]:
        """Take the fast forward pass where it gives the model's own logits; returns what was found, in words."""
        reason = fused.is_in_family(self._model)
        packs = reason is None and fused.packs_weights(self._model)
        group = probe_row_group(self._model, packs=packs)
        self._group, self._exact = group.size, group.exact
        if reason is None:
            candidate = fused.FusedModel(self._model, self._group, packs=packs)
            difference = fused.agrees(self._model, candidate)
            if difference <= fused.TOLERANCE[self._model.dtype]:
                self._fused = candidate
                return [group.words, f"own forward pass with {'packed' if packs else 'plain'} weights"]
            reason = f"its own logits differ from ours by {difference:.2g} of their spread"
        if packs:
            group = probe_row_group(self._model, packs=False)
            self._group, self._exact = group.size, group.exact
        self._model.set_attn_implementation(ragged.NAME)
        return [group.words, f"transformers' forward pass, because {reason}"]

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
            self._fused.refresh(self._resident.touched)

    def set_training_active(self, active: bool) -> None:
        if self._model.device.type == "cpu":
            torch.set_num_threads(max(1, self._threads // 2) if active else self._threads)

    def park(self) -> None:
        self.detach()
        self._prepared = None
        if self._fused and self._model.device.type != "cpu":
            self._fused.release()  # or its copies of the weights would stay on the device
        self._parking.park()

    def _unpark(self) -> None:
        out_of_memory = False
        try:
            self._parking.unpark()
        except torch.OutOfMemoryError:
            out_of_memory = True  # handled outside: the exception would keep its frames' tensors alive
        if out_of_memory:
            raise DeviceOutOfMemory("the device has too little free memory to bring the base model back")
        if self._fused and not self._fused.layers:
            self._fused.take()

    def answer(
        self,
        requests: Sequence[Request],
        decoding: Decoding,
        on_answer: OnAnswer,
        on_step: OnStep,
        plan_for: Sequence[Request] = (),
    ) -> None:
        self._unpark()
        everything = {request.case_id: self._prompt(request, decoding) for request in (*plan_for, *requests)}
        fitting = [prompt for prompt in everything.values() if prompt.limit > 0]
        wanted = [everything[request.case_id] for request in requests]
        for prompt in wanted:
            if prompt.limit <= 0:
                on_answer(Answer(prompt.case_id, "", len(prompt.tokens) - prompt.virtual, 0, PROMPT_TOO_LONG, 0.0))
        todo = in_order([prompt for prompt in wanted if prompt.limit > 0])
        todo, on_answer = gathering(todo, decoding, on_answer)
        if self._unsupported is not None:
            answer_one_by_one(self._resident, todo, self._language(), decoding, on_answer, on_step)
        elif todo:
            self._answer_ragged(todo, fitting, decoding, on_answer, on_step)

    def _answer_ragged(
        self,
        todo: list[Prompt],
        suite: list[Prompt],
        decoding: Decoding,
        on_answer: OnAnswer,
        on_step: OnStep,
    ) -> None:
        """Answer with as many slots as fit; after an out-of-memory with half of them."""
        left = {(prompt.case_id, prompt.sample): prompt for prompt in todo}

        def on_one(answer: Answer) -> None:
            del left[answer.case_id, answer.sample]
            on_answer(answer)

        plan = self._plan(suite)
        slots = plan.slots
        while left:
            out_of_memory = False
            try:
                forward = self._forward_for(Plan(slots, plan.capacity))
                loop = DecodeLoop(forward, slots, self._language(), decoding, self._replay)
                loop.run(list(left.values()), on_one, on_step)
            except torch.OutOfMemoryError:
                out_of_memory = True  # handled outside: the exception would keep its frames' tensors alive
            if not out_of_memory:
                return
            self._prepared = None
            torch.cuda.empty_cache()
            if slots == 1:
                raise DeviceOutOfMemory("the device has too little free memory for a single case")
            slots //= 2
            log.warning("out of memory: going on with %d cases at a time", slots)

    def _plan(self, suite: list[Prompt]) -> Plan:
        config = self._model.config
        size = torch.finfo(self._model.dtype).bits // 8
        per_position = 2 * config.num_hidden_layers * config.num_key_value_heads * ragged.head_size(self._model) * size
        held = self._prepared.plan.slots * self._prepared.plan.capacity * per_position if self._prepared else 0
        budget = device_memory.cache_budget(self._model.device, held)
        return make_plan(suite, bytes_per_position=per_position, memory_bytes=budget)

    def _forward_for(self, plan: Plan) -> ragged.RaggedForward | fused.FusedForward:
        """Slots for this plan, cleared: what a broken checkpoint left in them must not reach the next one."""
        if self._prepared is None or self._prepared.plan != plan:
            self._prepared = None
            self._prepared = _Prepared(plan, self._new_forward(plan))
        else:
            self._prepared.forward.slots.clear()
        self._prepared.forward.soft_prompt = self._resident.soft_prompt
        return self._prepared.forward

    def _new_forward(self, plan: Plan) -> ragged.RaggedForward | fused.FusedForward:
        if self._fused:
            return fused.FusedForward(self._fused, plan.slots, plan.capacity)
        return ragged.RaggedForward(self._model, plan.slots, plan.capacity, self._group)

    def _prompt(self, request: Request, decoding: Decoding) -> Prompt:
        """Token ids in the base model's own chat template; limit 0 when the prompt alone is too long for the model."""
        messages = [{"role": message.role, "content": message.content} for message in request.messages]
        text = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        tokens = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        virtual = 0 if self._resident.soft_prompt is None else self._resident.soft_prompt.shape[0]
        words = self._model.get_input_embeddings().weight.shape[0]
        tokens = [*range(words, words + virtual), *tokens]
        room = max(0, getattr(self._model.config, "max_position_embeddings", 1 << 30) - len(tokens) - 1)
        limit = min(request.max_new_tokens or decoding.max_new_tokens, room)
        reference: tuple[int, ...] = ()
        if request.reference:
            reference = tuple(self._tokenizer(request.reference, add_special_tokens=False)["input_ids"])
        return Prompt(
            request.case_id, tuple(tokens), limit, reference if len(reference) <= room else (), virtual=virtual
        )

    def _language(self) -> Language:
        configured = self._model.generation_config.eos_token_id
        ends = configured if isinstance(configured, list) else [configured]
        ends = [end for end in (*ends, self._tokenizer.eos_token_id) if end is not None]
        return Language(
            frozenset(ends), lambda tokens: str(self._tokenizer.decode(list(tokens), skip_special_tokens=True))
        )


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


def fingerprint(base_model: str) -> str:
    """Names the base model's files: identical for identical files, wherever they lie. A hub id stands for itself."""
    folder = Path(base_model)
    if not folder.is_dir():
        return hashlib.sha256(base_model.encode()).hexdigest()
    # Hub caches are folders of links; the user named this folder, so its links are followed.
    files = [(name, (folder / name).resolve()) for name in files_that_matter(folder)]
    lines = [f"{name} {describe_file(path.parent, path.name).sha256}" for name, path in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
