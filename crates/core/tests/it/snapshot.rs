//! What a snapshot accepts, and what it says of the rest.
