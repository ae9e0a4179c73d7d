//! Policies that are refused, and corners of decisions.
