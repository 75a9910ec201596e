//! Calls the trainer as its host does: `rust_host subprocess REQUEST.json` and `rust_host embedded REQUEST.json`.
//!
//! The request names an expert's folder and what differs on this machine; the configuration is built from the
//! expert's manifest, in the shape that belongs to each way of calling. Afterwards one line of JSON on standard
//! output says how the call ended and which folders are there. The program itself fails (status 2) only when it
//! could not make the call.

mod config;
mod embedded;
mod subprocess;

use serde_json::{json, Value};
use std::path::{Path, PathBuf};

/// What the tests ask for. Everything else comes from the expert's manifest.
pub struct Request {
    pub document: Value,
}

impl Request {
    fn read(path: &str) -> Result<Request, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
        let document = serde_json::from_str(&text).map_err(|error| format!("{path}: {error}"))?;
        Ok(Request { document })
    }

    pub fn text(&self, key: &str) -> Result<&str, String> {
        self.document[key].as_str().ok_or(format!("the request has no {key}"))
    }

    pub fn path(&self, key: &str) -> Result<PathBuf, String> {
        self.text(key).map(PathBuf::from)
    }
}

/// How a call ended: the status of the process, or the text of the exception.
pub struct Ended {
    pub success: bool,
    pub status: Option<i32>,
    pub error: String,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let ended = match arguments.as_slice() {
        [_, way, path] => call(way, path),
        _ => Err("usage: rust_host subprocess|embedded REQUEST.json".to_string()),
    };
    match ended {
        Ok(line) => println!("{line}"),
        Err(problem) => {
            eprintln!("rust_host: {problem}");
            std::process::exit(2);
        }
    }
}

fn call(way: &str, path: &str) -> Result<Value, String> {
    let request = Request::read(path)?;
    let ended = match way {
        "subprocess" => subprocess::call(&request)?,
        "embedded" => embedded::call(&request)?,
        _ => return Err(format!("{way} is neither subprocess nor embedded")),
    };
    let output = config::output_dir(&request)?;
    Ok(json!({
        "way": way,
        "success": ended.success,
        "status": ended.status,
        "error": ended.error,
        "folders": folders_below(&output, 2),
    }))
}

/// Folders below the weights folder, as paths from there; hidden ones are nobody's business here.
fn folders_below(root: &Path, depth: usize) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(root) else { return found };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !entry.path().is_dir() || name.starts_with('.') {
            continue;
        }
        if depth > 1 {
            for inner in folders_below(&entry.path(), depth - 1) {
                found.push(format!("{name}/{inner}"));
            }
        }
        found.push(name);
    }
    found.sort();
    found
}
