//! A static busybox for samples that are built from nothing: found, or installed as a package.
//!
//! Not a part of BuildKit; the demo's images start with it, for there may be no registry to pull a base image from.

use std::fs;
use std::path::PathBuf;

use super::machine::Machine;
use super::packages::{self, Package};
use super::progress::Report;

/// The static busybox of this machine; where there is none and this is root, the distribution's package is installed first. None
/// where neither works: then a base image must be pulled.
pub async fn ensure(progress: Report<'_>) -> Option<PathBuf> {
    let machine = Machine::this();
    if let Some(found) = find(&machine) {
        return Some(found);
    }
    if !machine.is_root() {
        return None;
    }
    // A package that is unavailable is no failure: there may be a registry.
    packages::install(&machine, Package::Busybox, progress).await.ok()?;
    find(&machine)
}

fn find(machine: &Machine) -> Option<PathBuf> {
    ["busybox-static", "busybox.static", "busybox"]
        .into_iter()
        .filter_map(|name| machine.which(name))
        .find(|path| fs::read(path).is_ok_and(|program| is_static(&program)))
        .and_then(|path| fs::canonicalize(path).ok())
}

/// Whether an ELF program of 64 bits needs no interpreter (a `PT_INTERP` header).
fn is_static(program: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    let number = |at: usize, bytes: usize| -> Option<u64> {
        let mut little = [0; 8];
        little[..bytes].copy_from_slice(program.get(at..at + bytes)?);
        Some(u64::from_le_bytes(little))
    };
    // ELF-64, little-endian: the layout of the header and of the program headers is that of elf(5).
    if !program.starts_with(b"\x7fELF\x02\x01") {
        return false;
    }
    let headers = || {
        let (start, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
        (0..count).map(|index| number(usize::try_from(start + index * size).ok()?, 4)).collect::<Option<Vec<u64>>>()
    };
    headers().is_some_and(|types| !types.contains(&u64::from(PT_INTERP)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_an_interpreter_is_not_static() {
        // This test itself is linked dynamically, unless it is built for musl.
        let this = std::env::current_exe().unwrap();
        assert_eq!(fs::read(this).is_ok_and(|program| is_static(&program)), cfg!(target_feature = "crt-static"));
        assert!(!is_static(b"#!/bin/sh"));
        assert!(!is_static(b"\x7fELF\x02\x01"));
    }
}
