//! The table of bad input names tests that exist.

#![allow(clippy::unwrap_used, clippy::panic, reason = "that is how a test fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The folder of each crate's sources and tests, from the workspace's.
const CRATES: [(&str, &[&str]); 6] = [
    ("skep_protocol", &["actors/protocol/src"]),
    ("skep_actors", &["actors/src"]),
    ("skep", &["runtime/src", "runtime/tests"]),
    ("skep_tests", &["tests/src", "tests/tests"]),
    ("skep_media", &["media/src"]),
    ("skep_sim", &["bench/sim/src"]),
];

fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|it| it == "rs") {
            found.push(path);
        }
    }
}

/// The modules that lead to a file. A module's tests may be in a file or folder of their own, which
/// the table leaves out.
fn modules(root: &Path, file: &Path) -> String {
    let inner = file.strip_prefix(root).unwrap().with_extension("");
    let parts = inner.iter().map(|part| part.to_str().unwrap());
    let parts = parts.map(|part| part.strip_suffix("_tests").unwrap_or(part));
    let kept = parts.filter(|part| !matches!(*part, "mod" | "lib" | "main" | "tests" | "fuzz"));
    kept.map(|part| format!("::{part}")).collect()
}

/// Every function of the sources, as the table names tests.
fn functions() -> BTreeSet<String> {
    let mut functions = BTreeSet::new();
    for (name, folders) in CRATES {
        for folder in folders {
            let (root, mut files) = (workspace().join(folder), Vec::new());
            sources(&root, &mut files);
            for file in files {
                let (modules, source) = (modules(&root, &file), fs::read_to_string(&file).unwrap());
                let declared = source.lines().filter_map(|line| {
                    let line = line.trim_start();
                    line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ")?.split('(').next()
                });
                functions.extend(declared.map(|test| format!("{name}{modules}::{test}")));
            }
        }
    }
    functions
}

#[test]
fn every_row_names_tests_that_exist() {
    let (table, functions) =
        (fs::read_to_string(workspace().join("tests/BAD_INPUT.md")).unwrap(), functions());
    let rows = table.lines().filter(|line| line.starts_with("| ") && !line.ends_with("| Proof |"));
    let mut count = 0;
    for row in rows {
        let proof = row.trim_end_matches([' ', '|']).rsplit(" | ").next().unwrap();
        let tests: Vec<&str> = proof.split(' ').map(|name| name.trim_matches('`')).collect();
        let gone: Vec<_> = tests.iter().filter(|test| !functions.contains(**test)).collect();
        assert!(gone.is_empty(), "{row}\nnames {gone:?}, which is no test (any more)");
        count += 1;
    }
    assert!(count > 90, "only {count} rows were found");
}
