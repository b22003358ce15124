//! RFC 3161 tokens: what is taken, and each rule with a token that breaks it and nothing else.

#![allow(clippy::unwrap_used)]

mod altered;
mod asn1;
mod openssl;
mod paths;
mod rules;
mod tokens;
mod tsa;
