//! The buildctl command: its arguments (pure), its progress stream (pure), and the runner process that owns it.
