//! Open files over a unix socket (SCM_RIGHTS).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::domain::reason::{io_error, reason};

/// The most files of one message.
pub const MOST_FILES: usize = 4;

/// Sends the beginning of a text with files; how many bytes of the text went with them.
///
/// # Errors
/// When the other side is gone, or there are more files than [`MOST_FILES`].
pub async fn send(stream: &UnixStream, text: &[u8], files: &[OwnedFd]) -> io::Result<usize> {
    let descriptors: Vec<BorrowedFd<'_>> = files.iter().map(|file| file.as_fd()).collect();
    let send = || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io_error(reason!("process.many_files")));
        }
        Ok(sendmsg(stream, &[IoSlice::new(text)], &mut control, SendFlags::NOSIGNAL)?)
    };
    stream.async_io(Interest::WRITABLE, send).await
}

/// Receives bytes and the files that come with them. No bytes: the other side has ended.
///
/// # Errors
/// When the other side is gone.
pub async fn receive(stream: &UnixStream, bytes: &mut [u8], files: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let receive = || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FILES))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(stream, &mut [IoSliceMut::new(bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                files.extend(descriptors);
            }
        }
        Ok(received.bytes)
    };
    stream.async_io(Interest::READABLE, receive).await
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read as _, Seek as _, Write as _};

    use super::*;

    #[tokio::test]
    async fn files_arrive_with_the_text_that_they_are_sent_with() {
        let (here, there) = UnixStream::pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"a log").unwrap();
        file.rewind().unwrap();
        let sent = send(&here, b"line\n", &[OwnedFd::from(file)]).await.unwrap();
        drop(here);
        let (mut bytes, mut files) = ([0; 64], Vec::new());
        let received = receive(&there, &mut bytes, &mut files).await.unwrap();
        assert_eq!(&bytes[..received], &b"line\n"[..sent]);
        let mut text = String::new();
        File::from(files.pop().unwrap()).read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), files.len()), ("a log", 0));
        assert_eq!(receive(&there, &mut bytes, &mut files).await.unwrap(), 0);
    }
}
