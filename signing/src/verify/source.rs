//! Reading objects for verification: there, not there, longer than it can be, or unreadable; never a mixture of these.

use std::io::{ErrorKind, Read};

use super::findings::CannotVerify;
use crate::{digest::Digest, store::Reader};

/// What a name led to.
pub(crate) enum Fetched {
    Absent,
    /// Longer than any object of this kind.
    TooLong,
    Bytes(Vec<u8>),
}

pub(crate) fn fetch(reader: &dyn Reader, name: &str, limit: u64) -> Result<Fetched, CannotVerify> {
    match reader.read(name, limit) {
        Ok(Some(bytes)) => Ok(Fetched::Bytes(bytes)),
        Ok(None) => Ok(Fetched::Absent),
        Err(e) if e.kind() == ErrorKind::FileTooLarge => Ok(Fetched::TooLong),
        Err(e) => Err(CannotVerify::read(name, &e)),
    }
}

/// The digest and length of an object, streamed; `None` when it is not there.
pub(crate) fn digest(reader: &dyn Reader, name: &str) -> Result<Option<(Digest, u64)>, CannotVerify> {
    let wrong = |e| CannotVerify::read(name, &e);
    match reader.open(name).map_err(wrong)? {
        Some(mut object) => Ok(Some(Digest::read(&mut object as &mut dyn Read).map_err(wrong)?)),
        None => Ok(None),
    }
}
