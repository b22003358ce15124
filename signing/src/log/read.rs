//! Tiles and entry bundles by name, read from an archive.

use std::ops::ControlFlow;

use super::{LogError, MAX_LEAF, MAX_SIZE, TILE_WIDTH};
use crate::{digest::Digest, store::Reader};

/// The longest entry bundle.
const MAX_BUNDLE: u64 = TILE_WIDTH * (MAX_LEAF as u64 + 2);

/// `tile/<level>/<index>`, and `.p/<width>` below 256. The index is written in groups of three digits, `x001/x234/067`.
pub fn tile_name(level: u8, index: u64, width: u64) -> String {
    name(&level.to_string(), index, width)
}

/// `tile/entries/<index>`, and `.p/<width>` below 256.
pub fn entry_bundle_name(index: u64, width: u64) -> String {
    name("entries", index, width)
}

fn name(level: &str, index: u64, width: u64) -> String {
    let mut path = format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1000);
        rest /= 1000;
    }
    if width < TILE_WIDTH { format!("tile/{level}/{path}.p/{width}") } else { format!("tile/{level}/{path}") }
}

/// The first `width` hashes of a tile: of the partial one of that width or, where it is gone, of the full one.
///
/// # Errors
/// An object that is missing, of another length, or not readable. The hashes are not checked against anything.
pub fn tile(reader: &dyn Reader, level: u8, index: u64, width: u64) -> Result<Vec<Digest>, LogError> {
    let (name, bytes) = fetch(reader, &|width| tile_name(level, index, width), width, 32 * TILE_WIDTH)?;
    let (hashes, rest) = bytes.as_chunks::<32>();
    let whole = if name.1 { TILE_WIDTH } else { width };
    if !rest.is_empty() || hashes.len() as u64 != whole {
        return Err(LogError::Damaged {
            name: name.0,
            what: format!("{} bytes instead of {}", bytes.len(), 32 * whole),
        });
    }
    Ok(hashes.iter().take(width as usize).map(|h| Digest(*h)).collect())
}

/// The first `width` leaves of an entry bundle, read as [`tile`] reads.
///
/// # Errors
/// As [`tile`].
pub fn entry_bundle(reader: &dyn Reader, index: u64, width: u64) -> Result<Vec<Vec<u8>>, LogError> {
    let ((name, full), bytes) = fetch(reader, &|width| entry_bundle_name(index, width), width, MAX_BUNDLE)?;
    let Some(leaves) = split(&bytes) else {
        return Err(LogError::Damaged { name, what: "its last leaf is cut off".to_owned() });
    };
    let whole = if full { TILE_WIDTH } else { width };
    if leaves.len() as u64 != whole {
        return Err(LogError::Damaged { name, what: format!("{} leaves instead of {whole}", leaves.len()) });
    }
    Ok(leaves.into_iter().take(width as usize).map(<[u8]>::to_vec).collect())
}

/// Gives the leaves from index `from` on to each, in order, as the tree of size `to` has them; one bundle is held at a time.
///
/// # Errors
/// Bundles that are missing, damaged or not readable. The leaves are not checked against a root: [`super::RootHasher`] does that.
pub fn entries(
    reader: &dyn Reader,
    from: u64,
    to: u64,
    each: &mut dyn FnMut(u64, &[u8]) -> ControlFlow<()>,
) -> Result<(), LogError> {
    if to > MAX_SIZE {
        return Err(LogError::TooLarge(to));
    }
    let mut at = from;
    while at < to {
        let index = at / TILE_WIDTH;
        let first = index * TILE_WIDTH;
        for leaf in entry_bundle(reader, index, TILE_WIDTH.min(to - first))?.iter().skip((at - first) as usize) {
            if each(at, leaf).is_break() {
                return Ok(());
            }
            at += 1;
        }
    }
    Ok(())
}

/// The leaves of an entry bundle; `None` when the last one is cut off.
pub(super) fn split(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut leaves = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<2>()?;
        let (leaf, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        leaves.push(leaf);
        bytes = rest;
    }
    Some(leaves)
}

/// The object of that width, or the full one (then `true`) where a partial one has been removed.
fn fetch(
    reader: &dyn Reader,
    name: &dyn Fn(u64) -> String,
    width: u64,
    limit: u64,
) -> Result<((String, bool), Vec<u8>), LogError> {
    let read = |name: &str| {
        reader.read(name, limit).map_err(|source| match source.kind() {
            std::io::ErrorKind::FileTooLarge => {
                LogError::Damaged { name: name.to_owned(), what: format!("it is longer than {limit} bytes") }
            }
            _ => LogError::Read { name: name.to_owned(), source },
        })
    };
    let asked = name(width);
    if let Some(bytes) = read(&asked)? {
        return Ok(((asked, width >= TILE_WIDTH), bytes));
    }
    if width < TILE_WIDTH {
        let full = name(TILE_WIDTH);
        if let Some(bytes) = read(&full)? {
            return Ok(((full, true), bytes));
        }
    }
    Err(LogError::Missing { name: asked })
}
