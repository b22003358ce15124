//! AWS as a source: accounts, regions, credentials, and one client for every service.
