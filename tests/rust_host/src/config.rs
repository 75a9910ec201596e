//! The two shapes of configuration, built from the expert's manifest.

use crate::Request;
use serde_json::{json, Map, Value};
use std::path::PathBuf;

/// Values that reach embedded Python as JSON text inside `training`.
const AS_JSON_TEXT: [&str; 3] = ["gradient_checkpointing", "gradient_checkpointing_kwargs", "lr_scheduler_kwargs"];

pub fn output_dir(request: &Request) -> Result<PathBuf, String> {
    match request.document["output_dir"].as_str() {
        Some(given) => Ok(PathBuf::from(given)),
        None => Ok(request.path("expert")?.join("weights")),
    }
}

fn manifest(request: &Request) -> Result<Value, String> {
    let path = request.path("expert")?.join("manifest.json");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Schema "2.0" lists its base models, "1.0" has one.
fn base_model(manifest: &Value) -> &Value {
    match &manifest["base_models"][0] {
        Value::Null => &manifest["base_model"],
        first => first,
    }
}

/// `training.config` of the manifest as is, with what the request changes on top.
fn training(manifest: &Value, request: &Request) -> Map<String, Value> {
    let mut training = manifest["training"]["config"].as_object().cloned().unwrap_or_default();
    if let Some(changes) = request.document["training"].as_object() {
        training.extend(changes.clone());
    }
    training.retain(|_, value| !value.is_null());
    training
}

/// What both shapes have.
fn common(manifest: &Value, request: &Request) -> Result<Map<String, Value>, String> {
    let given = &request.document;
    let base = base_model(manifest);
    let dataset = &manifest["training"]["dataset"];
    let data = dataset["path"].as_str().map(|path| request.path("expert").map(|expert| expert.join(path)));
    let either = |key: &str, other: &Value| if given[key].is_null() { other.clone() } else { given[key].clone() };
    let mut config = Map::new();
    config.insert("base_model_name".into(), either("base_model_name", &base["name"]));
    config.insert("quantization".into(), either("quantization", &base["quantization"]));
    config.insert("dataset_path".into(), json!(data.transpose()?.unwrap_or_default()));
    config.insert("output_dir".into(), json!(output_dir(request)?));
    config.insert("device".into(), either("device", &json!("auto")));
    config.insert("dataset".into(), dataset.clone());
    Ok(config)
}

/// The file for the subprocess: no expert name and no version, nulls left out.
pub fn for_subprocess(request: &Request) -> Result<Value, String> {
    let manifest = manifest(request)?;
    let mut config = common(&manifest, request)?;
    config.insert("training".into(), Value::Object(training(&manifest, request)));
    Ok(Value::Object(config))
}

/// The dictionary for embedded Python: more keys, and three values of `training` as JSON text.
pub fn for_embedded(request: &Request) -> Result<Value, String> {
    let manifest = manifest(request)?;
    let mut config = common(&manifest, request)?;
    let mut training = training(&manifest, request);
    for key in AS_JSON_TEXT {
        if let Some(value) = training.remove(key) {
            training.insert(format!("{key}_json"), json!(value.to_string()));
        }
    }
    config.insert("training".into(), Value::Object(training));
    config.insert("expert_name".into(), manifest["name"].clone());
    config.insert("expert_version".into(), manifest["version"].clone());
    if let Some(template) = base_model(&manifest)["prompt_template"].as_str() {
        config.insert("base_model".into(), json!({ "prompt_template": template }));
    }
    for key in ["validation_path", "test_path", "resume_checkpoint"] {
        if let Some(value) = request.document[key].as_str() {
            config.insert(key.into(), json!(value));
        }
    }
    config.retain(|_, value| !value.is_null());
    Ok(Value::Object(config))
}
