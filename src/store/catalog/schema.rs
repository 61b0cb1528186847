//! The catalog's database: its tables, and connections to it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, params};

/// The form of the tables. A catalog of another form is made anew.
const VERSION: i64 = 1;

/// How long a connection waits for another one's lock.
const PATIENCE: Duration = Duration::from_secs(10);

/// SQLite's pages that a connection keeps in memory, in KiB.
const CACHE_KIB: i64 = 4 * 1024;

/// Keys are the first 64 bits of the SHA-256 of the names that they stand for.
///
/// `open`: the build's mark is there. `outcome`: what the build says of its rule, as [`super::rows::Outcome`].
/// `rule_digest`: the rule as it was. `written_at`: when the record was written; another time says that somebody edited it.
const TABLES: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER) WITHOUT ROWID;
CREATE TABLE build (
    id INTEGER PRIMARY KEY,
    open INTEGER NOT NULL,
    state INTEGER NOT NULL,
    outcome INTEGER NOT NULL,
    trigger INTEGER NOT NULL,
    namespace INTEGER NOT NULL,
    repository INTEGER NOT NULL,
    rule INTEGER NOT NULL,
    ref INTEGER NOT NULL,
    rule_digest INTEGER NOT NULL,
    commit_start INTEGER NOT NULL,
    push INTEGER,
    queued_at INTEGER NOT NULL,
    finished_at INTEGER,
    written_at INTEGER NOT NULL,
    text TEXT NOT NULL
);
CREATE INDEX build_open ON build (id) WHERE open OR state = 255;
CREATE INDEX build_state ON build (state, id);
CREATE INDEX build_namespace ON build (namespace, state, id);
CREATE INDEX build_repository ON build (repository, state, id);
CREATE INDEX build_rule ON build (rule, outcome, id);
CREATE INDEX build_ref ON build (ref, outcome, id);
CREATE INDEX build_commit ON build (commit_start);
CREATE INDEX build_push ON build (push) WHERE push IS NOT NULL;
CREATE INDEX build_schedule ON build (rule, queued_at) WHERE trigger = 4;
CREATE INDEX build_finished ON build (finished_at) WHERE finished_at IS NOT NULL;
CREATE TABLE push (
    id INTEGER PRIMARY KEY,
    settled INTEGER NOT NULL,
    namespace INTEGER NOT NULL,
    repository INTEGER NOT NULL,
    ref INTEGER NOT NULL,
    commit_start INTEGER NOT NULL,
    pushed_at INTEGER NOT NULL,
    written_at INTEGER NOT NULL
);
CREATE INDEX push_unsettled ON push (id) WHERE NOT settled;
CREATE INDEX push_namespace ON push (namespace, id);
CREATE INDEX push_repository ON push (repository, id);
CREATE INDEX push_ref ON push (ref, id);
CREATE INDEX push_commit ON push (commit_start);
";

/// A number that the catalog keeps of itself.
#[derive(Debug, Clone, Copy)]
pub(super) enum Meta {
    /// Builds from this number on are in the catalog; those below it are still to be read.
    BuildFloor,
    /// The highest number that a build had.
    LastBuild,
    /// When `builds/` was changed last, as far as the catalog knows every change.
    BuildStamp,
    /// Pushes from this number on are in the catalog.
    PushFloor,
    /// The highest number that a push had.
    LastPush,
    /// When `pushes/` was changed last.
    PushStamp,
}

impl Meta {
    fn key(self) -> &'static str {
        match self {
            Meta::BuildFloor => "build_floor",
            Meta::LastBuild => "last_build",
            Meta::BuildStamp => "build_stamp",
            Meta::PushFloor => "push_floor",
            Meta::LastPush => "last_push",
            Meta::PushStamp => "push_stamp",
        }
    }

    pub(super) fn get(self, connection: &Connection) -> rusqlite::Result<Option<i64>> {
        let mut statement = connection.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
        Ok(statement.query_row([self.key()], |row| row.get(0)).optional()?.flatten())
    }

    pub(super) fn put(self, connection: &Connection, value: Option<i64>) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?;
        statement.execute(params![self.key(), value]).map(drop)
    }
}

/// Opens a catalog for writing and makes it where it is not there.
///
/// # Errors
/// When it can't be opened, is damaged, or has another form.
pub(super) fn open(file: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(file)?;
    connection.busy_timeout(PATIENCE)?;
    // Readers go on while the pool writes. What a power cut takes is found by the next start; the tables stay sound.
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    connection.execute_batch("PRAGMA synchronous = NORMAL; PRAGMA journal_size_limit = 8388608;")?;
    prepare(connection)
}

/// Opens a catalog that lasts as long as its connection, in a temporary file: for a home whose disk takes no other.
pub(super) fn temporary() -> rusqlite::Result<Connection> {
    prepare(Connection::open("")?)
}

fn prepare(connection: Connection) -> rusqlite::Result<Connection> {
    limit_memory(&connection)?;
    match version(&connection)? {
        0 => connection.execute_batch(&format!("BEGIN; {TABLES} PRAGMA user_version = {VERSION}; COMMIT;"))?,
        VERSION => {}
        _ => return Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(26), Some("another form".into()))),
    }
    Ok(connection)
}

/// Opens a catalog for reading, beside whoever writes it.
///
/// # Errors
/// When there is none, or it can't be read, or has another form.
pub(super) fn open_to_read(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(PATIENCE)?;
    limit_memory(&connection)?;
    if version(&connection)? != VERSION {
        return Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(26), Some("another form".into())));
    }
    Ok(connection)
}

fn limit_memory(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(64);
    connection.execute_batch(&format!("PRAGMA cache_size = -{CACHE_KIB}; PRAGMA temp_store = FILE;"))
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Whether the tables and their indexes agree.
pub(super) fn is_sound(connection: &Connection) -> bool {
    let verdict = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    verdict.is_ok_and(|verdict| verdict == "ok")
}

/// Whether an error says that the file is no sound catalog.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::SqliteFailure(failure, message) => {
            matches!(failure.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
                || message.as_ref().is_some_and(|message| message.starts_with("no such "))
        }
        rusqlite::Error::SqlInputError { .. }
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::FromSqlConversionFailure(..) => true,
        _ => false,
    }
}

/// Removes a catalog with what SQLite keeps beside it.
///
/// # Errors
/// When a file can't be removed.
pub(super) fn remove(file: &Path) -> io::Result<()> {
    for end in ["", "-wal", "-shm", "-journal"] {
        let mut name = file.as_os_str().to_owned();
        name.push(end);
        match fs::remove_file(PathBuf::from(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
