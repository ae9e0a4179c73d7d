//! Every decision is Cedar's.
