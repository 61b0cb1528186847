//! The background process: queue, scheduler, adoption of runners, socket server.
