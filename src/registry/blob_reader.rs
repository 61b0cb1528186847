//! A blob that is read piece by piece, and checked against its digest and its size at its end.

use std::io;
use std::time::{Duration, Instant};

use futures_util::{Stream, stream};
use reqwest::Response;
use sha2::{Digest as _, Sha256, Sha512};
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

/// Bytes of a piece that is read from a file.
const PIECE: usize = 256 * 1024;
/// Bytes a second of the slowest transfer that is waited for, after the first minute.
pub const SLOWEST: u64 = 20 * 1024;
/// Bytes of the largest blob that is waited for.
pub const LARGEST: u64 = 1 << 40;
/// The longest time for one piece of an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A blob on its way.
pub struct BlobReader {
    source: Source,
    digest: String,
    hasher: Hasher,
    /// Bytes that are still to come.
    left: u64,
    /// When it has to be here as a whole.
    until: Instant,
}

/// Where a blob comes from.
pub enum Source {
    /// A file of a layout.
    File(File),
    /// A registry's answer.
    Answer(Box<Response>),
}

enum Hasher {
    Sha256(Sha256),
    Sha512(Box<Sha512>),
}

impl BlobReader {
    /// The blob with a digest, which must be well formed, and a size.
    pub fn new(source: Source, digest: &str, size: u64) -> BlobReader {
        let hasher = match digest.starts_with("sha512:") {
            true => Hasher::Sha512(Box::default()),
            false => Hasher::Sha256(Sha256::new()),
        };
        let until = Instant::now() + PATIENCE + Duration::from_secs(size.min(LARGEST) / SLOWEST);
        BlobReader { source, digest: digest.to_owned(), hasher, left: size, until }
    }

    /// The next piece; none at the end of a blob that is the right one.
    ///
    /// # Errors
    /// When it can't be read, or is another one than was asked for.
    pub async fn piece(&mut self) -> io::Result<Option<Vec<u8>>> {
        let piece = match &mut self.source {
            Source::File(file) => {
                let mut piece = vec![0; PIECE];
                let length = file.read(&mut piece).await?;
                piece.truncate(length);
                piece
            }
            Source::Answer(answer) => {
                let patience = PATIENCE.min(self.until.saturating_duration_since(Instant::now()));
                let piece = timeout(patience, answer.chunk()).await.map_err(io::Error::from)?;
                piece.map_err(io::Error::other)?.map(|piece| piece.to_vec()).unwrap_or_default()
            }
        };
        let longer = || io::Error::new(io::ErrorKind::InvalidData, format!("{} is longer than it says", self.digest));
        self.left = self.left.checked_sub(piece.len() as u64).ok_or_else(longer)?;
        if piece.is_empty() {
            return self.check().map(|()| None);
        }
        match &mut self.hasher {
            Hasher::Sha256(hasher) => hasher.update(&piece),
            Hasher::Sha512(hasher) => hasher.update(&piece),
        }
        Ok(Some(piece))
    }

    fn check(&mut self) -> io::Result<()> {
        let actual = match &mut self.hasher {
            Hasher::Sha256(hasher) => format!("sha256:{}", hex::encode(hasher.finalize_reset())),
            Hasher::Sha512(hasher) => format!("sha512:{}", hex::encode(hasher.finalize_reset())),
        };
        if self.left == 0 && actual == self.digest {
            return Ok(());
        }
        let message = format!("{} was asked for, and {actual} came, {} bytes short", self.digest, self.left);
        Err(io::Error::new(io::ErrorKind::InvalidData, message))
    }

    /// All pieces.
    pub fn stream(self) -> impl Stream<Item = io::Result<Vec<u8>>> + Send + 'static {
        let next = async |reader: Option<BlobReader>| {
            let mut reader = reader?;
            match reader.piece().await {
                Ok(Some(piece)) => Some((Ok(piece), Some(reader))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        };
        stream::unfold(Some(self), next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::image::sha256;

    async fn read(content: &[u8], digest: &str, size: u64) -> io::Result<Vec<u8>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        let mut reader = BlobReader::new(Source::File(File::open(file.path()).await?), digest, size);
        let mut all = Vec::new();
        while let Some(piece) = reader.piece().await? {
            all.extend(piece);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn only_the_blob_that_was_asked_for_comes_to_its_end() {
        let content = vec![7; 3 * PIECE + 1];
        let (digest, size) = (sha256(&content), content.len() as u64);
        assert_eq!(read(&content, &digest, size).await.unwrap(), content);
        for (digest, size) in [(sha256(b"other"), size), (digest.clone(), size - 1), (digest.clone(), size + 1)] {
            assert_eq!(read(&content, &digest, size).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }
}
