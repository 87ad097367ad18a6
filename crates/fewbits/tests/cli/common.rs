//! Running the real binary in a fresh directory.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fewbits::graph::Tensor;
use fewbits::to_npy;
use serde_json::Value;
use tempfile::TempDir;

/// A fresh directory with the demo's model in it, and the binary to run there.
pub(crate) struct Place {
    dir: TempDir,
}

/// What a run of the binary gave.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    pub(crate) fn new() -> Place {
        let place = Place { dir: tempfile::tempdir().unwrap() };
        let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets");
        for file in ["digits_cnn.onnx", "digits.npz"] {
            std::fs::copy(assets.join(file), place.path(file)).unwrap();
        }
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    pub(crate) fn write_npy(&self, name: &str, tensor: &Tensor) {
        self.write(name, &to_npy(tensor));
    }

    /// Names in the directory, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path()).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Runs `fewbits` here; `line` is split at blanks.
    pub(crate) fn fewbits(&self, line: &str) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fewbits"));
        let output = command.args(line.split_whitespace()).current_dir(self.dir.path()).output().unwrap();
        Ran::from(output)
    }

    /// Runs a command that must succeed.
    pub(crate) fn ok(&self, line: &str) -> Ran {
        let ran = self.fewbits(line);
        assert_eq!(ran.code, Some(0), "`fewbits {line}`: {}", ran.stderr);
        assert_eq!(ran.stderr, "", "`fewbits {line}` is quiet in a pipe");
        ran
    }

    /// Runs a command that must succeed, and reads its JSON.
    pub(crate) fn json(&self, line: &str) -> Value {
        let ran = self.ok(&format!("{line} --json"));
        assert_eq!(ran.stdout.lines().count(), 1, "one object on one line");
        serde_json::from_str(&ran.stdout).unwrap()
    }

    /// Runs a command that must fail with this code and one line that has all of `parts`, and leave
    /// no new file.
    pub(crate) fn fails(&self, line: &str, code: i32, parts: &[&str]) {
        let before = self.names();
        let ran = self.fewbits(line);
        let message = ran.stderr.trim_end();
        assert_eq!(ran.code, Some(code), "`fewbits {line}`: {message}");
        assert!(message.starts_with("error: "), "{message}");
        assert!(!message.contains("panicked"), "{message}");
        for part in parts {
            assert!(message.contains(part), "`fewbits {line}` should say '{part}': {message}");
        }
        assert_eq!(self.names(), before, "`fewbits {line}` leaves no file behind");
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        Ran {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}
