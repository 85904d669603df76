//! Writes what is made from the types: `crds/*.yaml`, the chart's copies, `docs/reference/*.md`. With `--check` it writes
//! nothing and fails where a file differs.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use postroad_crds::{all_crds, reference};

const HELP: &str = "crdgen [--check]: makes crds/*.yaml, charts/postroad/files/crds/*.yaml and docs/reference/*.md from the types";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let check = match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        [] => false,
        ["--check"] => true,
        _ => {
            println!("{HELP}");
            return ExitCode::from(u8::from(arguments.iter().all(|argument| argument != "--help")) * 2);
        }
    };
    match run(check) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("crdgen: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(check: bool) -> Result<bool, Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut same = true;
    for (path, text) in files(&root)? {
        let shown = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
        if std::fs::read_to_string(&path).is_ok_and(|found| found == text) {
            continue;
        }
        if check {
            println!("{shown} is not what the types say; run cargo crdgen");
            same = false;
        } else {
            std::fs::create_dir_all(path.parent().unwrap_or(&root))?;
            std::fs::write(&path, text)?;
            println!("wrote {shown}");
        }
    }
    Ok(same)
}

fn files(root: &Path) -> Result<Vec<(PathBuf, String)>, Box<dyn std::error::Error>> {
    let mut files = Vec::new();
    for crd in all_crds() {
        let name = crd.metadata.name.clone().unwrap_or_default();
        let yaml = yaml(&crd)?;
        files.push((root.join(format!("crds/{name}.yaml")), yaml.clone()));
        files.push((root.join(format!("charts/postroad/files/crds/{name}.yaml")), yaml));
        let page = root.join(format!(
            "docs/reference/{}.md",
            crd.spec.names.kind.to_lowercase()
        ));
        files.push((page, reference::page(&crd)?));
    }
    Ok(files)
}

fn yaml(crd: &CustomResourceDefinition) -> Result<String, Box<dyn std::error::Error>> {
    let mut value = serde_json::to_value(crd)?;
    // Written by the server only.
    if let Some(object) = value.as_object_mut() {
        object.remove("status");
    }
    Ok(format!(
        "# Made by `cargo crdgen` from the types in crds/src.\n{}",
        serde_saphyr::to_string(&value)?
    ))
}
