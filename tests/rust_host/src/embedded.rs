//! The other way: Python inside this process, module `train` or else `expert_trainer`, `train_expert(config)`.

use crate::{config, Ended, Request};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use serde_json::Value;

pub fn call(request: &Request) -> Result<Ended, String> {
    let cli_folder = request.text("cli_folder")?.to_string();
    let config = config::for_embedded(request)?;
    Python::with_gil(|py| match train(py, &cli_folder, &config) {
        Ok(()) => Ok(Ended { success: true, status: None, error: String::new() }),
        Err(error) => Ok(Ended { success: false, status: None, error: error.to_string() }),
    })
}

fn train(py: Python<'_>, cli_folder: &str, config: &Value) -> PyResult<()> {
    let path: &PyList = py.import("sys")?.getattr("path")?.downcast()?;
    let here = std::env::current_dir().unwrap_or_default();
    path.insert(0, here)?;
    path.insert(0, cli_folder)?;
    let module = py.import("train").or_else(|_| py.import("expert_trainer"))?;
    module.getattr("train_expert")?.call1((to_python(py, config)?,))?;
    Ok(())
}

/// JSON as Python's own values.
fn to_python(py: Python<'_>, value: &Value) -> PyResult<PyObject> {
    Ok(match value {
        Value::Null => py.None(),
        Value::Bool(each) => each.into_py(py),
        Value::Number(each) => match each.as_i64() {
            Some(whole) => whole.into_py(py),
            None => each.as_f64().into_py(py),
        },
        Value::String(each) => each.into_py(py),
        Value::Array(each) => {
            let items = each.iter().map(|item| to_python(py, item)).collect::<PyResult<Vec<_>>>()?;
            PyList::new(py, items).into_py(py)
        }
        Value::Object(each) => {
            let dictionary = PyDict::new(py);
            for (key, item) in each {
                dictionary.set_item(key, to_python(py, item)?)?;
            }
            dictionary.into_py(py)
        }
    })
}
