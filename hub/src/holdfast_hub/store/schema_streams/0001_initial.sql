-- readings.db: what sites have sent. Exactly once by (site, node, class, incarnation, sequence).

-- One history of one class of one node. Sequences begin after `origin`; `high` is the last the node is known to have
-- given out; high - origin = stored + tombstoned + pending. A superseded or forked history gets no more.
CREATE TABLE streams (
    id INTEGER PRIMARY KEY,
    site TEXT NOT NULL,
    node TEXT NOT NULL,
    class TEXT NOT NULL,
    incarnation TEXT NOT NULL,
    origin INTEGER NOT NULL,
    high INTEGER NOT NULL,
    stored INTEGER NOT NULL DEFAULT 0,
    tombstoned INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'superseded', 'forked')),
    since INTEGER NOT NULL, -- hub's clock, milliseconds since 1970
    UNIQUE (site, node, class, incarnation)
);

-- What is decided of a stream, stored or tombstoned, neighbours merged, with the chain at both ends (NULL: not known).
-- The range that begins after `origin` ends at the high-water mark.
CREATE TABLE ranges (
    stream INTEGER NOT NULL REFERENCES streams,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    before BLOB,
    after BLOB,
    PRIMARY KEY (stream, first)
) WITHOUT ROWID;

-- Stored groups, with the node's clocks at their commit: boot_id, boottime and wall in milliseconds, quality.
-- `since` and `until` are the earliest and latest time of their readings: with them the rows of a group can be found.
CREATE TABLE segments (
    stream INTEGER NOT NULL REFERENCES streams,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    chain BLOB NOT NULL,
    kind TEXT NOT NULL,
    since INTEGER NOT NULL,
    until INTEGER NOT NULL,
    boot_id TEXT NOT NULL,
    boottime INTEGER NOT NULL,
    wall INTEGER NOT NULL,
    quality TEXT NOT NULL,
    received INTEGER NOT NULL, -- hub's clock, milliseconds since 1970
    PRIMARY KEY (stream, first)
) WITHOUT ROWID;

-- Rows that will never come, and why.
CREATE TABLE gaps (
    stream INTEGER NOT NULL REFERENCES streams,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    size INTEGER NOT NULL,
    reason TEXT NOT NULL,
    chain BLOB, -- at its end; NULL: not known
    received INTEGER NOT NULL,
    PRIMARY KEY (stream, first)
) WITHOUT ROWID;

-- `kind` of value: int, float, bool (stored as 0 and 1) or text.
CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    site TEXT NOT NULL,
    node TEXT NOT NULL,
    device TEXT NOT NULL,
    metric TEXT NOT NULL,
    unit TEXT NOT NULL,
    quality TEXT NOT NULL,
    kind TEXT NOT NULL,
    UNIQUE (site, device, metric, node, unit, quality, kind)
);

-- One tree, in the order in which it is asked. `time` in milliseconds since 1970; value NULL is a float's "not a number".
CREATE TABLE readings (
    series INTEGER NOT NULL,
    time INTEGER NOT NULL,
    stream INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    value,
    PRIMARY KEY (series, time, stream, sequence)
) WITHOUT ROWID;

-- `position` orders what may be read: given when everything before it in its stream is decided, NULL until then.
CREATE TABLE records (
    stream INTEGER NOT NULL REFERENCES streams,
    sequence INTEGER NOT NULL,
    position INTEGER UNIQUE,
    kind TEXT NOT NULL,
    at INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (stream, sequence)
) WITHOUT ROWID;

-- What could not be taken, the newest only.
CREATE TABLE rejected (
    id INTEGER PRIMARY KEY,
    site TEXT NOT NULL,
    node TEXT NOT NULL,
    class TEXT NOT NULL,
    reason TEXT NOT NULL,
    message TEXT NOT NULL,
    size INTEGER NOT NULL,
    payload BLOB NOT NULL, -- its beginning
    received INTEGER NOT NULL
);
