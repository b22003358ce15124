//! Promises that only the whole program can keep; the tests are in `tests/tests/`.
