//! The words and the rules of slipway, pure: no I/O, no clock.
