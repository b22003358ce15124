//! The request for a token (RFC 3161, 2.4.1).

use crate::digest::Digest;

/// A TimeStampReq up to the digest: version 1, and an imprint by SHA-256.
const HEAD: [u8; 24] = [
    0x30, 0x4b, 0x02, 0x01, 0x01, 0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
    0x01, 0x05, 0x00, 0x04, 0x20,
];

/// A request for a token over a message: SHA-256, a nonce of 16 bytes, and the authority's certificates asked for, since the archive
/// keeps them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    pub(super) imprint: Digest,
    pub(super) nonce: [u8; 16],
}

impl Request {
    /// The request for `message`. `nonce` is fresh and from the system's randomness; its first two bits are set to 01, so that it is a
    /// positive INTEGER of one length, which leaves 126.
    pub fn new(message: &[u8], mut nonce: [u8; 16]) -> Self {
        nonce[0] = nonce[0] & 0x3f | 0x40;
        Self { imprint: Digest::of(message), nonce }
    }

    /// The bytes of an `application/timestamp-query` (RFC 3161, 3.4).
    pub fn to_der(&self) -> Vec<u8> {
        let mut der = HEAD.to_vec();
        der.extend_from_slice(&self.imprint.0);
        der.extend_from_slice(&[0x02, 0x10]);
        der.extend_from_slice(&self.nonce);
        // certReq TRUE
        der.extend_from_slice(&[0x01, 0x01, 0xff]);
        der
    }
}
