//! Files that are long enough to be interrupted.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use skep_protocol::transfer::FileHasher;

use super::{Failure, Result};

/// Distance of what is written, in bytes; between it are holes.
const STEP: usize = 1 << 20;

/// Makes a file of so many bytes that is the same nowhere and takes little of the disk.
///
/// # Errors
/// [`Failure::File`].
pub fn long_file(path: &Path, length: u64) -> Result<()> {
    let file = File::create(path).map_err(Failure::file(path))?;
    file.set_len(length).map_err(Failure::file(path))?;
    for at in (0..length.saturating_sub(8)).step_by(STEP) {
        file.write_all_at(&(at + 1).to_le_bytes(), at).map_err(Failure::file(path))?;
    }
    Ok(())
}

/// SHA3-512 of a file, in hexadecimal.
///
/// # Errors
/// [`Failure::File`].
pub fn file_hash(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(Failure::file(path))?;
    let (mut hasher, mut buffer) = (FileHasher::default(), vec![0; STEP]);
    loop {
        match file.read(&mut buffer).map_err(Failure::file(path))? {
            0 => return Ok(hasher.finish().to_string()),
            length => hasher.update(buffer.get(..length).unwrap_or_default()),
        }
    }
}
