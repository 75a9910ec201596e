"""From what the user said to settings: which place, which base model, which test cases, which decoding."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from sidestep.evaluator.cases.exchange import Decoding
from sidestep.evaluator.comparing.gates import Gates, read_gates
from sidestep.evaluator.settings import EngineSettings, EvaluatorSettings, Order
from sidestep.shared.errors import BaseModelError, ConfigError
from sidestep.shared.protocol.layout import last_path_part
from sidestep.shared.protocol.manifest import BASE_MODEL_VARIABLE, Manifest, chosen_base_model, read_manifest
from sidestep.shared.protocol.place import Place, find_place

# What the trainer's tests inside the loop used, before checkpoints were meant to be comparable.
LEGACY_SAMPLING = Decoding(temperature=0.7, top_p=0.8, top_k=20)


_decodings: TypeAdapter[Decoding] = TypeAdapter(Decoding)
QUANTIZED = ("int8", "int4")


class DecodingChoice(StrEnum):
    """Greedy makes checkpoints comparable; ``manifest`` samples as the manifest's ``training.decoding`` says."""

    GREEDY = "greedy"
    MANIFEST = "manifest"


@dataclass(frozen=True)
class Options:
    """The options that all commands of the evaluator share, as given."""

    path: Path
    base_model: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    suite: Path | None = None
    weights_dir: Path | None = None
    reports_dir: Path | None = None
    decoding: DecodingChoice = DecodingChoice.GREEDY
    max_new_tokens: int | None = None
    allow_hub: bool = False
    engine: str | None = None
    log_json: bool = False
    keep_reports: int | None = None

    def place(self) -> Place:
        return find_place(self.path, weights=self.weights_dir, reports=self.reports_dir)

    def manifest(self, place: Place) -> Manifest | None:
        return read_manifest(place.expert.manifest) if place.expert and place.expert.manifest.is_file() else None


def gates_of(options: Options) -> Gates:
    """The gates that the manifest names. Raises ConfigError."""
    manifest = options.manifest(options.place())
    return read_gates(manifest.evaluation.get("gates"), manifest.path) if manifest else Gates()


def _keep_reports(manifest: Manifest | None) -> int | None:
    keep = manifest.evaluation.get("keep_reports") if manifest else None
    if manifest and keep is not None and (not isinstance(keep, int) or isinstance(keep, bool) or keep < 0):
        raise ConfigError(f"{manifest.path}: evaluation.keep_reports is no number of reports", hint="write it like 20")
    return keep


def settings_from(options: Options, *, order: Order, needs_model: bool = True) -> EvaluatorSettings:
    """Validated settings. Raises BaseModelError, ManifestError or ConfigError with what to do."""
    place = options.place()
    manifest = options.manifest(place)
    suite = _suite_path(options, place, manifest)
    settings = EvaluatorSettings(
        place=place,
        engine=_engine_settings(options, manifest, needs_model and suite.is_file()),
        suite_path=suite,
        decoding=_decoding(options, manifest),
        manifest=manifest,
        order=order,
        log_json=options.log_json,
        keep_reports=_keep_reports(manifest) if options.keep_reports is None else options.keep_reports,
    )
    return replace(settings, engine_factory=options.engine) if options.engine else settings


def _engine_settings(options: Options, manifest: Manifest | None, needs_model: bool) -> EngineSettings:
    base_model = chosen_base_model(options.base_model, manifest)
    if base_model is None:
        if needs_model:
            raise BaseModelError(
                f"no base model is known for {options.path}",
                hint=f"name it with --base-model or {BASE_MODEL_VARIABLE}, or point at the expert's folder",
            )
        base_model = ""
    local = Path(base_model).expanduser()
    if needs_model and not local.is_dir() and not options.allow_hub:
        raise BaseModelError(
            f"the base model {base_model} is no folder on this machine",
            hint=f"say where {last_path_part(base_model)} is with --base-model or {BASE_MODEL_VARIABLE}",
        )
    return EngineSettings(
        base_model=str(local.resolve()) if local.is_dir() else base_model,
        device=options.device,
        dtype="auto" if options.dtype in QUANTIZED else options.dtype,
        quantization=options.dtype if options.dtype in QUANTIZED else "none",
        allow_hub=options.allow_hub,
        prompt_template=manifest.base_model.get("prompt_template") if manifest else None,
    )


def _suite_path(options: Options, place: Place, manifest: Manifest | None) -> Path:
    if options.suite:
        return options.suite.resolve()
    named = manifest.evaluation.get("suite") if manifest else None
    if manifest and isinstance(named, str):
        return (manifest.path.parent / named).resolve()
    expert = place.expert or place.weights.expert
    return expert.suite


def _decoding(options: Options, manifest: Manifest | None) -> Decoding:
    """Greedy unless asked otherwise; the manifest's ``evaluation.decoding`` and the command line go on top."""
    decoding = Decoding()
    if options.decoding is DecodingChoice.MANIFEST:
        decoding = _sampling(manifest.training.get("decoding") if manifest else None)
    if manifest:
        decoding = _with_fields(decoding, manifest.evaluation.get("decoding"), manifest.path)
    if options.max_new_tokens:
        decoding = replace(decoding, max_new_tokens=options.max_new_tokens)
    return decoding


def _sampling(block: Any) -> Decoding:
    """The manifest's ``training.decoding``, where it says something, over what the old tests used."""
    given = block if isinstance(block, dict) else {}
    known = {key: given[key] for key in ("temperature", "top_p", "top_k") if key in given}
    return _decoding_of(LEGACY_SAMPLING, known | {"stop": given.get("stop_sequences", ())}, "training.decoding")


def _with_fields(decoding: Decoding, block: Any, path: Path) -> Decoding:
    if block is None:
        return decoding
    names = {each.name for each in fields(Decoding)}
    if not isinstance(block, dict) or set(block) - names:
        unknown = ", ".join(sorted(set(block) - names)) if isinstance(block, dict) else "no object"
        raise ConfigError(
            f"{path}: evaluation.decoding has fields that do not exist: {unknown}",
            hint=f"known are {', '.join(sorted(names))}",
        )
    return _decoding_of(decoding, block, f"{path}: evaluation.decoding")


def _decoding_of(decoding: Decoding, values: dict[str, Any], where: str) -> Decoding:
    try:
        return _decodings.validate_python({**asdict(decoding), **values})
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{where}: {first['loc'][-1]} is wrong: {first['msg']}") from error
