//! Catalogues (SOC 2, HIPAA), evidence items, checks and their evaluation; no I/O.
