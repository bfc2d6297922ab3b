-- Groups again, with what upkeep asks before the blob: SQLite reads a row from its front.
-- `expires`: when the odometer says so, milliseconds; 0 never. `thin`: 1 when it was downsampled, or cannot be.
ALTER TABLE groups RENAME TO groups_1;
DROP INDEX groups_by_key;
CREATE TABLE groups (
    id INTEGER PRIMARY KEY,
    stream TEXT NOT NULL,
    first INTEGER NOT NULL,
    count INTEGER NOT NULL,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    raw INTEGER NOT NULL,
    size INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    thin INTEGER NOT NULL,
    before BLOB NOT NULL,
    chain BLOB NOT NULL,
    boot_id TEXT NOT NULL,
    boottime INTEGER NOT NULL,
    wall INTEGER NOT NULL,
    quality TEXT NOT NULL,
    blob BLOB NOT NULL,
    UNIQUE (stream, first)
);
INSERT INTO groups SELECT id, stream, first, count, kind, key, raw, size, 0, 0, before, chain, boot_id, boottime, wall,
    quality, blob FROM groups_1;
DROP TABLE groups_1;
CREATE INDEX groups_by_key ON groups (key) WHERE key <> '';
CREATE INDEX groups_by_expiry ON groups (stream, expires) WHERE expires <> 0;

-- What may have been sent under its numbers: it may be dropped, but not written anew. Neighbours are one row.
CREATE TABLE sent (
    stream TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (stream, first)
) WITHOUT ROWID;
INSERT INTO sent SELECT stream, acked + 1, high FROM streams WHERE high > acked;

-- Everything ever dropped, by reason.
CREATE TABLE losses (
    stream TEXT NOT NULL,
    reason TEXT NOT NULL,
    rows INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (stream, reason)
) WITHOUT ROWID;
INSERT INTO losses SELECT stream, 'Earlier', lost, 0 FROM streams WHERE lost > 0;

-- How long this node has run, all its boots together, and the boot and its clock when that was so; milliseconds.
-- `day` and `spent`: which 24 hours of running it is, and how many bytes of history were sent in them.
CREATE TABLE odometer (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    total INTEGER NOT NULL,
    boot_id TEXT NOT NULL,
    boottime INTEGER NOT NULL,
    day INTEGER NOT NULL,
    spent INTEGER NOT NULL
);
INSERT INTO odometer VALUES (1, 0, '', 0, 0, 0);
