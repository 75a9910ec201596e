"""From options to settings: which place, which base model, which test cases, which decoding."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from sidestep.evaluator.cases.exchange import Decoding
from sidestep.evaluator.comparing.gates import Gates, read_gates
from sidestep.evaluator.settings import DEFAULT_ENGINE, EngineSettings, EvaluatorSettings
from sidestep.shared.commands.choices import DecodingChoice, Dtype, Order
from sidestep.shared.commands.options import EvaluationOptions, FolderOptions, SuiteOptions
from sidestep.shared.errors import BaseModelError, ConfigError
from sidestep.shared.protocol.layout import last_path_part
from sidestep.shared.protocol.manifest import BASE_MODEL_VARIABLE, Manifest, chosen_base_model, read_manifest
from sidestep.shared.protocol.place import Place, find_place

# What the trainer's tests inside the loop used, before checkpoints were meant to be comparable.
LEGACY_SAMPLING = Decoding(temperature=0.7, top_p=0.8, top_k=20)
QUANTIZED = (Dtype.INT8, Dtype.INT4)

_decodings: TypeAdapter[Decoding] = TypeAdapter(Decoding)


def find_folders(path: Path, folders: FolderOptions) -> Place:
    """The place that a path and the options mean; it need not exist yet."""
    return find_place(path, weights=folders.weights_dir, reports=folders.reports_dir)


def manifest_gates(place: Place) -> Gates:
    """The gates that the manifest names. Raises ConfigError."""
    manifest = _manifest(place)
    return read_gates(manifest.evaluation.get("gates"), manifest.path) if manifest else Gates()


def find_suite(given: Path | None, place: Place, manifest: Manifest | None) -> Path:
    """The file with test cases: as given, else as the manifest says, else where an expert has it. Need not exist."""
    if given:
        return given.resolve()
    named = manifest.evaluation.get("suite") if manifest else None
    if manifest and isinstance(named, str):
        return (manifest.path.parent / named).resolve()
    expert = place.expert or place.weights.expert
    return expert.suite


def build_settings(
    path: Path, options: EvaluationOptions, *, order: Order, needs_model: bool = True
) -> EvaluatorSettings:
    """Validated settings; ``order`` counts where the options name none.

    Raises BaseModelError, ManifestError or ConfigError with what to do.
    """
    place = find_folders(path, options.folders)
    manifest = _manifest(place)
    suite = find_suite(options.suite.suite, place, manifest)
    return EvaluatorSettings(
        place=place,
        engine=_engine_settings(path, options, manifest, needs_model and suite.is_file()),
        suite_path=suite,
        decoding=_decoding(options.suite, manifest),
        manifest=manifest,
        order=options.sharing.order or order,
        poll_seconds=options.upkeep.poll_seconds,
        stall_seconds=options.upkeep.stall_timeout,
        retry_seconds=options.upkeep.retry_seconds,
        deadline_seconds=options.sharing.deadline,
        max_slowdown=options.sharing.max_slowdown,
        engine_factory=options.engine.engine or DEFAULT_ENGINE,
        log_json=options.log.log_json,
        keep_reports=_keep_reports(manifest) if options.upkeep.keep_reports is None else options.upkeep.keep_reports,
    )


def _manifest(place: Place) -> Manifest | None:
    return read_manifest(place.expert.manifest) if place.expert and place.expert.manifest.is_file() else None


def _keep_reports(manifest: Manifest | None) -> int | None:
    keep = manifest.evaluation.get("keep_reports") if manifest else None
    if manifest and keep is not None and (not isinstance(keep, int) or isinstance(keep, bool) or keep < 0):
        raise ConfigError(
            f"{manifest.path}: evaluation.keep_reports is not a number of reports", hint="write it like 20"
        )
    return keep


def _engine_settings(
    path: Path, options: EvaluationOptions, manifest: Manifest | None, needs_model: bool
) -> EngineSettings:
    engine = options.engine
    base_model = chosen_base_model(options.model.base_model, manifest)
    if base_model is None:
        if needs_model:
            raise BaseModelError(
                f"no base model is known for {path}",
                hint=f"name it with --base-model or {BASE_MODEL_VARIABLE}, or point at the expert's folder",
            )
        base_model = ""
    local = Path(base_model).expanduser()
    if needs_model and not local.is_dir() and not engine.allow_hub:
        raise BaseModelError(
            f"the base model {base_model} is not a folder on this machine",
            hint=f"say where {last_path_part(base_model)} is with --base-model or {BASE_MODEL_VARIABLE}",
        )
    return EngineSettings(
        base_model=str(local.resolve()) if local.is_dir() else base_model,
        device=options.model.device or "auto",
        dtype="auto" if engine.dtype in QUANTIZED else engine.dtype.value,
        quantization=engine.dtype.value if engine.dtype in QUANTIZED else "none",
        allow_hub=engine.allow_hub,
        prompt_template=manifest.base_model.get("prompt_template") if manifest else None,
    )


def _decoding(options: SuiteOptions, manifest: Manifest | None) -> Decoding:
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
    names = {field.name for field in fields(Decoding)}
    if not isinstance(block, dict) or set(block) - names:
        unknown = ", ".join(sorted(set(block) - names)) if isinstance(block, dict) else "it is not an object"
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
