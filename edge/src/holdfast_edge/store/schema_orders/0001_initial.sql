-- orders.db: what the hub said to devices of this site. An id stands here before anything is done about it.

-- state: taken, given (published, or about to be: never again), ended. replied: the hub's broker has the outcome.
CREATE TABLE orders (
    id TEXT PRIMARY KEY,
    device TEXT NOT NULL,
    name TEXT NOT NULL,
    data TEXT NOT NULL, -- JSON
    deadline INTEGER NOT NULL, -- milliseconds since 1970
    state TEXT NOT NULL DEFAULT 'taken' CHECK (state IN ('taken', 'given', 'ended')),
    outcome TEXT NOT NULL DEFAULT '',
    reason TEXT NOT NULL DEFAULT '',
    answer TEXT NOT NULL DEFAULT 'null', -- JSON
    at INTEGER NOT NULL,
    replied INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX orders_open ON orders (state) WHERE state != 'ended';
CREATE INDEX orders_unreplied ON orders (replied) WHERE state = 'ended' AND replied = 0;

-- What the properties of a device shall be, whole. replied: the hub's broker knows that they are here.
CREATE TABLE desired (
    device TEXT PRIMARY KEY,
    id TEXT NOT NULL,
    version INTEGER NOT NULL,
    properties TEXT NOT NULL, -- JSON
    at INTEGER NOT NULL,
    replied INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

-- When this file was made: an order from before it may have been given by one that is lost.
CREATE TABLE made (at INTEGER NOT NULL);
