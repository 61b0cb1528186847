//! Users of this machine: their names, and who logged in.

use std::ffi::{CStr, CString};
use std::fs;

/// Room for an entry of the user database; directory services have long ones.
const ENTRY_BYTES: usize = 16 * 1024;

/// The user's name in the user database, directory services included.
pub fn name(uid: u32) -> Option<String> {
    let mut entry = std::mem::MaybeUninit::<libc::passwd>::uninit();
    let mut text = vec![0; ENTRY_BYTES];
    let mut found = std::ptr::null_mut();
    // SAFETY: getpwuid_r writes the entry and the strings that it points to into the buffers, which outlive it here.
    let status = unsafe { libc::getpwuid_r(uid, entry.as_mut_ptr(), text.as_mut_ptr(), text.len(), &raw mut found) };
    if status != 0 || found.is_null() {
        return None;
    }
    // SAFETY: on success `found` points to the entry, whose name is a string that ends within `text`.
    let name = unsafe { CStr::from_ptr((*found).pw_name) };
    Some(name.to_string_lossy().into_owned())
}

/// The user's number, by name.
pub fn uid(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    let mut entry = std::mem::MaybeUninit::<libc::passwd>::uninit();
    let mut text = vec![0; ENTRY_BYTES];
    let mut found = std::ptr::null_mut();
    // SAFETY: as above; the name is a string that ends in NUL.
    let status =
        unsafe { libc::getpwnam_r(name.as_ptr(), entry.as_mut_ptr(), text.as_mut_ptr(), text.len(), &raw mut found) };
    // SAFETY: on success `found` points to the entry.
    (status == 0 && !found.is_null()).then(|| unsafe { (*found).pw_uid })
}

/// A user for people: `kim (uid 1000)`, or `uid 1000` where the number has no name.
pub fn shown(uid: u32) -> String {
    name(uid).map_or_else(|| format!("uid {uid}"), |name| format!("{name} (uid {uid})"))
}

/// The user whose login the process descends from, whatever user it became since (sudo, su): the audit system's `loginuid`.
/// None where the login set none, such as in a service.
pub fn login_uid(pid: i32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/loginuid")).ok()?;
    text.trim().parse().ok().filter(|uid| *uid != u32::MAX)
}

/// Whether nobody but root and the user belongs to the group: a user's private group, or one without members. False for
/// groups that `/etc/group` does not know.
pub fn is_private_group(gid: u32, uid: u32) -> bool {
    let read = |file| fs::read_to_string(file).unwrap_or_default();
    holds_nobody_else(&read("/etc/group"), &read("/etc/passwd"), gid, uid)
}

fn holds_nobody_else(groups: &str, users: &str, gid: u32, uid: u32) -> bool {
    let (gid, uid) = (gid.to_string(), uid.to_string());
    let field = |line: &str, index: usize| line.split(':').nth(index).unwrap_or_default().to_owned();
    let is_us = |line: &&str| [&uid, "0"].contains(&field(line, 2).as_str());
    let ours: Vec<String> = users.lines().filter(is_us).map(|line| field(line, 0)).collect();
    let Some(group) = groups.lines().find(|line| field(line, 2) == gid) else { return false };
    let members = field(group, 3);
    let mut members = members.split(',').filter(|name| !name.is_empty());
    let mut others = users.lines().filter(|line| field(line, 3) == gid && !is_us(line));
    members.all(|name| ours.iter().any(|own| own == name)) && others.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_number_and_by_name() {
        assert_eq!(name(0).as_deref(), Some("root"));
        assert_eq!(uid("root"), Some(0));
        assert_eq!((name(4_000_000_001), uid("no such user"), uid("a\0b")), (None, None, None));
        assert_eq!((shown(0).as_str(), shown(4_000_000_001).as_str()), ("root (uid 0)", "uid 4000000001"));
    }

    #[test]
    fn a_group_is_private_where_nobody_else_belongs_to_it() {
        let users = "root:x:0:0::/root:/bin/sh\nkim:x:1000:1000::/:/bin/sh\nann:x:1001:1001::/:\nbob:x:1002:50::/:\n";
        let groups = "root:x:0:\nkim:x:1000:\nann:x:1001:kim\nstaff:x:50:\nwheel:x:10:root,kim\n";
        let private = |gid, uid| holds_nobody_else(groups, users, gid, uid);
        assert!(private(1000, 1000) && private(10, 1000) && private(0, 0));
        assert!(!private(1001, 1001), "kim is a member");
        assert!(!private(1000, 1001), "it is kim's own");
        assert!(!private(50, 0), "it is bob's");
        assert!(!private(99, 0), "nobody knows it");
    }
}
