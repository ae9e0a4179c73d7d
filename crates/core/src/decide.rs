//! How a call is decided.
