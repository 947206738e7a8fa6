"""The schema of a workspace, as numbered migrations that are never edited once released.

Paths are TEXT where they are valid UTF-8 and BLOB (the bytes) where they are not. Times are
ISO 8601 in UTC. A vector is D little-endian float32, as the encoder gave it.
"""

from .sqlite import Database, Migrations

MIGRATIONS = Migrations("code_forensics")

_SCHEMA_1 = """
CREATE TABLE settings (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE encoders (
    id INTEGER PRIMARY KEY,
    sha256 TEXT NOT NULL UNIQUE,
    origin TEXT NOT NULL,           -- where it came from, for people
    revision TEXT NOT NULL,         -- the hub's commit, if it came from a hub
    dimension INTEGER NOT NULL,
    added TEXT NOT NULL
);

-- What is known of some bytes, wherever they lie.
CREATE TABLE contents (
    id INTEGER PRIMARY KEY,
    sha256 TEXT NOT NULL UNIQUE,
    bytes INTEGER NOT NULL,
    format TEXT,
    width INTEGER,
    height INTEGER,
    decoder TEXT,
    provenance TEXT NOT NULL        -- JSON object
);

-- Why some bytes have no embedding.
CREATE TABLE failures (
    content_id INTEGER NOT NULL REFERENCES contents(id) ON DELETE CASCADE,
    preprocessing TEXT NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT,
    PRIMARY KEY (content_id, preprocessing)
) WITHOUT ROWID;

CREATE TABLE embeddings (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never reused: FAISS files count with it
    content_id INTEGER NOT NULL REFERENCES contents(id) ON DELETE CASCADE,
    encoder_id INTEGER NOT NULL REFERENCES encoders(id),
    preprocessing TEXT NOT NULL,
    precision TEXT NOT NULL,
    vector BLOB NOT NULL,
    UNIQUE (content_id, encoder_id, preprocessing)
);

-- A path as it was when it was last read: unchanged, it need not be opened again.
CREATE TABLE files (
    id INTEGER PRIMARY KEY,
    path NOT NULL UNIQUE,
    bytes INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    inode TEXT NOT NULL,            -- 64 bits unsigned, as decimal text
    device TEXT NOT NULL,
    content_id INTEGER NOT NULL REFERENCES contents(id) ON DELETE CASCADE
);
CREATE INDEX files_by_content ON files(content_id);

CREATE TABLE galleries (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    encoder_id INTEGER NOT NULL REFERENCES encoders(id),
    preprocessing TEXT NOT NULL,
    generation INTEGER NOT NULL,    -- counts the changes
    created TEXT NOT NULL,
    removed TEXT                    -- kept for the evidence of old scans until it is purged
);
CREATE UNIQUE INDEX galleries_by_name ON galleries(name) WHERE removed IS NULL;

-- What each change made of a gallery.
CREATE TABLE gallery_generations (
    gallery_id INTEGER NOT NULL REFERENCES galleries(id) ON DELETE CASCADE,
    generation INTEGER NOT NULL,
    sha256 TEXT NOT NULL,           -- over encoder, preprocessing and the references in force
    reals INTEGER NOT NULL,
    fakes INTEGER NOT NULL,
    action TEXT NOT NULL,
    created TEXT NOT NULL,
    PRIMARY KEY (gallery_id, generation)
) WITHOUT ROWID;

CREATE TABLE "references" (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    gallery_id INTEGER NOT NULL REFERENCES galleries(id) ON DELETE CASCADE,
    ordinal INTEGER NOT NULL,       -- 1, 2, 3, ... within the gallery, never reused
    label TEXT NOT NULL CHECK (label IN ('real', 'fake')),
    generator TEXT NOT NULL,
    source TEXT NOT NULL,
    path,                           -- NULL where it came as a ready vector
    sha256 TEXT,
    vector BLOB NOT NULL,
    added INTEGER NOT NULL,         -- generation that added it
    removed INTEGER,                -- generation that removed it
    UNIQUE (gallery_id, ordinal)
);

CREATE TABLE scans (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uuid TEXT NOT NULL UNIQUE,
    started TEXT NOT NULL,
    finished TEXT,
    state TEXT NOT NULL CHECK (state IN ('running', 'finished', 'interrupted', 'failed')),
    gallery_id INTEGER REFERENCES galleries(id) ON DELETE SET NULL,
    generation INTEGER,
    run TEXT NOT NULL,              -- JSON: arguments, versions, hashes, host
    summary TEXT                    -- JSON: counts
);

-- The rows of a report, complete in themselves.
CREATE TABLE verdicts (
    scan_id INTEGER NOT NULL REFERENCES scans(id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    path NOT NULL,
    sha256 TEXT,
    bytes INTEGER,
    format TEXT,
    width INTEGER,
    height INTEGER,
    status TEXT NOT NULL,
    reason TEXT,
    detail TEXT,
    knn TEXT,
    verdict TEXT,
    p_fake REAL,
    margin REAL,
    real_similarity REAL,
    fake_similarity REAL,
    generator TEXT,
    neighbour TEXT,
    duplicate_of,
    provenance TEXT NOT NULL,       -- JSON object
    precision TEXT,
    PRIMARY KEY (scan_id, position)
) WITHOUT ROWID;
CREATE INDEX verdicts_by_content ON verdicts(scan_id, sha256, position);

CREATE TABLE neighbours (
    scan_id INTEGER NOT NULL,
    position INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    reference_id INTEGER NOT NULL REFERENCES "references"(id) ON DELETE CASCADE,
    similarity REAL NOT NULL,
    PRIMARY KEY (scan_id, position, rank),
    FOREIGN KEY (scan_id, position) REFERENCES verdicts(scan_id, position) ON DELETE CASCADE
) WITHOUT ROWID;

-- FAISS files are derived: this says which bytes belong to which state of the truth.
CREATE TABLE faiss_files (
    name TEXT PRIMARY KEY,
    watermark TEXT NOT NULL,        -- state of the truth that the file holds
    sha256 TEXT NOT NULL
) WITHOUT ROWID;
"""


@MIGRATIONS()
def m001_first_schema(db: Database) -> None:
    """Everything."""
    _execute(db, _SCHEMA_1)


_SCHEMA_2 = """
-- What a gallery's own references say of its scores: opaque here, the engine writes and reads it.
CREATE TABLE assessments (
    gallery_id INTEGER NOT NULL REFERENCES galleries(id) ON DELETE CASCADE,
    generation INTEGER NOT NULL,
    k INTEGER NOT NULL,
    document BLOB NOT NULL,
    PRIMARY KEY (gallery_id, generation, k)
);

ALTER TABLE verdicts ADD COLUMN score REAL;
ALTER TABLE verdicts ADD COLUMN log10_lr REAL;
ALTER TABLE verdicts ADD COLUMN attribution TEXT;
ALTER TABLE verdicts ADD COLUMN attribution_certainty REAL;
-- JSON arrays
ALTER TABLE verdicts ADD COLUMN crops TEXT NOT NULL DEFAULT '[]';
ALTER TABLE verdicts ADD COLUMN probe TEXT NOT NULL DEFAULT '[]';
"""


@MIGRATIONS()
def m002_calibrated_verdicts(db: Database) -> None:
    """Calibration of galleries; scores, likelihood ratios, crops and probes of verdicts."""
    _execute(db, _SCHEMA_2)


_SCHEMA_3 = """
-- What was downloaded from a hub, and what the hub stated of it: other bytes are refused later.
CREATE TABLE pulls (
    repo TEXT PRIMARY KEY,
    revision TEXT NOT NULL,         -- as asked for: branch, tag or commit
    commit_hash TEXT NOT NULL,      -- what it was resolved to
    encoder_sha256 TEXT NOT NULL,
    pulled TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE pulled_files (
    repo TEXT NOT NULL REFERENCES pulls(repo) ON DELETE CASCADE,
    name TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    stated TEXT NOT NULL,           -- by the hub: a SHA-256, or git's SHA-1 of a blob
    PRIMARY KEY (repo, name)
) WITHOUT ROWID;

-- Classifiers beside the galleries: safetensors, opaque here, the engine writes and reads them.
CREATE TABLE heads (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    encoder_id INTEGER NOT NULL REFERENCES encoders(id),
    sha256 TEXT NOT NULL,           -- of the document
    origin TEXT NOT NULL,
    document BLOB NOT NULL,
    added TEXT NOT NULL,
    removed TEXT                    -- kept for the evidence of old scans
);
CREATE UNIQUE INDEX heads_by_kind ON heads(encoder_id, kind) WHERE removed IS NULL;

ALTER TABLE verdicts ADD COLUMN classifier TEXT;
ALTER TABLE verdicts ADD COLUMN classifier_score REAL;
"""


@MIGRATIONS()
def m003_pulled_files_and_heads(db: Database) -> None:
    """What came from a hub; classifiers beside nearest neighbours."""
    _execute(db, _SCHEMA_3)


_SCHEMA_4 = """
-- Vectors of further views of a picture (crops, changes), beside the centre crop's in embeddings.
CREATE TABLE views (
    id INTEGER PRIMARY KEY,
    content_id INTEGER NOT NULL REFERENCES contents(id) ON DELETE CASCADE,
    encoder_id INTEGER NOT NULL REFERENCES encoders(id),
    preprocessing TEXT NOT NULL,
    plan TEXT NOT NULL,             -- which views, and their order
    vectors BLOB NOT NULL,          -- float32, one after the other
    UNIQUE (content_id, encoder_id, preprocessing, plan)
);
"""


@MIGRATIONS()
def m004_views(db: Database) -> None:
    """Several crops of a picture, and the stability probe."""
    _execute(db, _SCHEMA_4)


_SCHEMA_5 = """
-- How far a reduced precision moves a gallery's scores: opaque here, the engine measures it.
CREATE TABLE precision_bands (
    gallery_id INTEGER NOT NULL REFERENCES galleries(id) ON DELETE CASCADE,
    generation INTEGER NOT NULL,
    k INTEGER NOT NULL,
    arithmetic TEXT NOT NULL,       -- precision, device and versions
    document TEXT NOT NULL,         -- JSON
    PRIMARY KEY (gallery_id, generation, k, arithmetic)
) WITHOUT ROWID;
"""


@MIGRATIONS()
def m005_precision_bands(db: Database) -> None:
    """Bands of reduced precision."""
    _execute(db, _SCHEMA_5)


_SCHEMA_6 = """
-- Size, modification time and inode that a file had when it was last hashed and found sound.
ALTER TABLE faiss_files ADD COLUMN seen TEXT NOT NULL DEFAULT '';

-- How the classes of large galleries are searched, and how well: of the files that are derived.
CREATE TABLE trained_searches (
    gallery_id INTEGER NOT NULL REFERENCES galleries(id) ON DELETE CASCADE,
    label TEXT NOT NULL,
    document TEXT NOT NULL,         -- JSON
    PRIMARY KEY (gallery_id, label)
) WITHOUT ROWID;

-- What came and went since, found without walking over a million others.
CREATE INDEX references_added ON "references"(gallery_id, added);
CREATE INDEX references_removed ON "references"(gallery_id, removed) WHERE removed IS NOT NULL;
"""


@MIGRATIONS()
def m006_trained_searches(db: Database) -> None:
    """Large galleries in cells."""
    _execute(db, _SCHEMA_6)


_SCHEMA_7 = """
-- 1 where the encoder was trained on images of the reference's source: its scores say nothing of
-- new images, so nothing is calibrated on it.
ALTER TABLE "references" ADD COLUMN trained INTEGER NOT NULL DEFAULT 0;
"""


@MIGRATIONS()
def m007_trained_references(db: Database) -> None:
    """Which references come from the encoder's own training."""
    _execute(db, _SCHEMA_7)


_SCHEMA_8 = """
-- A picture of a file that holds several has contents.sha256 = SHA-256#NUMBER, but for the first.
-- How many it holds is NULL where an older version has looked.
ALTER TABLE contents ADD COLUMN frames INTEGER;
-- The file on disk that an archive's member, or a further frame, lies in.
ALTER TABLE files ADD COLUMN container;
ALTER TABLE verdicts ADD COLUMN container;
ALTER TABLE verdicts ADD COLUMN frames INTEGER;
"""


@MIGRATIONS()
def m008_members_and_frames(db: Database) -> None:
    """Members of archives, and further frames of pictures."""
    _execute(db, _SCHEMA_8)


_SCHEMA_9 = """
-- 0 where queries are not compared with the reference: it calibrates alone.
ALTER TABLE "references" ADD COLUMN compared INTEGER NOT NULL DEFAULT 1;
"""


@MIGRATIONS()
def m009_calibrating_references(db: Database) -> None:
    """References that nothing is compared with."""
    _execute(db, _SCHEMA_9)


def _execute(db: Database, script: str) -> None:
    for statement in script.split(";\n"):
        if statement.strip():
            db.execute(statement)


KNOWN = frozenset(
    {
        m001_first_schema.__name__,
        m002_calibrated_verdicts.__name__,
        m003_pulled_files_and_heads.__name__,
        m004_views.__name__,
        m005_precision_bands.__name__,
        m006_trained_searches.__name__,
        m007_trained_references.__name__,
        m008_members_and_frames.__name__,
        m009_calibrating_references.__name__,
    }
)
"""Names of all migrations; a workspace that has had others was made by a newer version."""
