-- edge.db: what a node must not forget. Times are milliseconds since 1970 by the node's clock; nothing orders by them.

CREATE TABLE targets (
  id INTEGER PRIMARY KEY,
  epoch INTEGER NOT NULL,
  generation INTEGER NOT NULL,
  digest TEXT NOT NULL,
  envelope BLOB NOT NULL, -- the bytes as received
  payload BLOB NOT NULL, -- what was signed, verified when it was accepted
  at INTEGER NOT NULL,
  reason TEXT NOT NULL,
  UNIQUE (epoch, generation)
);

CREATE TABLE roles (
  role TEXT PRIMARY KEY CHECK (role IN ('current', 'last-good')),
  target INTEGER NOT NULL REFERENCES targets (id),
  at INTEGER NOT NULL,
  reason TEXT NOT NULL
) WITHOUT ROWID;

-- Refused since the last target was accepted: one row per reason, the first message, how often.
CREATE TABLE refused (
  reason TEXT PRIMARY KEY,
  message TEXT NOT NULL,
  envelope TEXT NOT NULL, -- digest of the bytes
  count INTEGER NOT NULL,
  first_at INTEGER NOT NULL,
  last_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE owned (
  key TEXT PRIMARY KEY,
  body BLOB NOT NULL,
  digest TEXT NOT NULL, -- '' until it was applied whole
  depends_on BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE journal (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  key TEXT NOT NULL,
  action TEXT NOT NULL,
  digest TEXT NOT NULL,
  began_at INTEGER NOT NULL,
  ended_at INTEGER,
  outcome TEXT, -- NULL: begun and not ended
  message TEXT NOT NULL DEFAULT ''
);
CREATE INDEX journal_open ON journal (id) WHERE outcome IS NULL;

CREATE TABLE attempts (key TEXT PRIMARY KEY, attempt BLOB NOT NULL) WITHOUT ROWID;

CREATE TABLE holds (id TEXT PRIMARY KEY, kept BLOB NOT NULL) WITHOUT ROWID;

-- Records for stream p0, written with what they report and moved to the outbox afterwards.
CREATE TABLE notices (id INTEGER PRIMARY KEY AUTOINCREMENT, record BLOB NOT NULL);

CREATE TABLE memory (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID; -- 'life', 'status'
