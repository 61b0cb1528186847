//! What the pool and its clients say to each other.
