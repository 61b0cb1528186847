//! A build's log file: writing, line index, reading, searching, following.
