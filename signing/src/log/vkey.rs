//! Verifier keys as text, `<name>+<key id>+<base64 of type and key>`: C2SP signed-note (v1.0.0), "Verifier keys".

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::keys::{BadKey, PublicKey};

/// The longest text that is read as a verifier key.
const MAX_VKEY: usize = 1024;

/// Text that is no verifier key of the kind that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum VkeyError {
    /// Another shape.
    #[error("it is no verifier key: those are written `<name>+<8 hexadecimal digits>+<base64>`")]
    Shape,
    /// A name that no note can carry.
    #[error("its name is empty or has white space in it")]
    Name,
    /// A key for something else.
    #[error("its key has type {found:#04x}, where {wanted:#04x} is needed ({what})")]
    Type {
        /// The type byte wanted.
        wanted: u8,
        /// The type byte in the text.
        found: u8,
        /// What keys of the wanted type sign.
        what: &'static str,
    },
    /// The three parts do not belong together.
    #[error("its key id is not that of its name and key: a character was altered or lost")]
    Id,
    /// No usable key.
    #[error(transparent)]
    Key(#[from] BadKey),
}

/// The key as key ids hash it.
pub(super) fn typed(algorithm: u8, key: &PublicKey) -> Vec<u8> {
    [&[algorithm][..], &key.to_bytes()].concat()
}

pub(super) fn write(name: &str, algorithm: u8, key: &PublicKey) -> String {
    let typed = typed(algorithm, key);
    format!("{name}+{:08x}+{}", signed_note::key_id(name, &typed), STANDARD.encode(typed))
}

pub(super) fn read(text: &str, algorithm: u8, what: &'static str) -> Result<(String, PublicKey), VkeyError> {
    if text.len() > MAX_VKEY {
        return Err(VkeyError::Shape);
    }
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(_), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(VkeyError::Shape);
    };
    if !signed_note::is_key_name_valid(name) || name.chars().any(char::is_control) {
        return Err(VkeyError::Name);
    }
    let key = STANDARD.decode(key).map_err(|_| VkeyError::Shape)?;
    let (found, bytes) = key.split_first().ok_or(VkeyError::Shape)?;
    if *found != algorithm {
        return Err(VkeyError::Type { wanted: algorithm, found: *found, what });
    }
    let key = PublicKey::from_bytes(bytes.try_into().map_err(|_| VkeyError::Shape)?)?;
    if text != write(name, algorithm, &key) {
        return Err(VkeyError::Id);
    }
    Ok((name.to_owned(), key))
}
