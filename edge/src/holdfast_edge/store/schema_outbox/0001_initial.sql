-- The outbox: what this node still owes the hub. One file of its own, so that telemetry never waits for the reconciler.

-- `opening` is random, changes at every start and stands in a side file too: a copy of the file put back is noticed.
CREATE TABLE identity (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    opening TEXT NOT NULL,
    previous TEXT NOT NULL
);

-- Sequences of an incarnation begin after `origin`; `tip` is the chain at `high`, `anchor` the chain at `acked`.
CREATE TABLE streams (
    stream TEXT PRIMARY KEY,
    incarnation TEXT NOT NULL,
    origin INTEGER NOT NULL,
    high INTEGER NOT NULL,
    tip BLOB NOT NULL,
    acked INTEGER NOT NULL,
    anchor BLOB NOT NULL,
    lost INTEGER NOT NULL
) WITHOUT ROWID;

-- Rows as encoded at their commit; `before` and `chain` are the chain around them. `key` is for p1 only, else ''.
CREATE TABLE groups (
    id INTEGER PRIMARY KEY,
    stream TEXT NOT NULL,
    first INTEGER NOT NULL,
    count INTEGER NOT NULL,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    raw INTEGER NOT NULL,
    size INTEGER NOT NULL,
    before BLOB NOT NULL,
    chain BLOB NOT NULL,
    boot_id TEXT NOT NULL,
    boottime INTEGER NOT NULL,
    wall INTEGER NOT NULL,
    quality TEXT NOT NULL,
    blob BLOB NOT NULL,
    UNIQUE (stream, first)
);
CREATE INDEX groups_by_key ON groups (key) WHERE key <> '';

-- Every drop, made in the transaction that dropped. Neighbours with one reason are one row.
CREATE TABLE tombstones (
    stream TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    size INTEGER NOT NULL,
    reason TEXT NOT NULL,
    before BLOB NOT NULL,
    chain BLOB NOT NULL,
    PRIMARY KEY (stream, first)
) WITHOUT ROWID;

-- Where a producer stands, committed together with the rows it produced.
CREATE TABLE cursors (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;
