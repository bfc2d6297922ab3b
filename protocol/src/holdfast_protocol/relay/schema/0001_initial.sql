-- Messages between two brokers, each way in the order they were taken.
CREATE TABLE messages (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  way TEXT NOT NULL CHECK (way IN ('out', 'in')),
  topic TEXT NOT NULL,
  payload BLOB NOT NULL,
  qos INTEGER NOT NULL,
  retain INTEGER NOT NULL,
  mark TEXT NOT NULL,               -- the bridges it came over
  born INTEGER NOT NULL,            -- milliseconds the bridge had run in all
  size INTEGER NOT NULL             -- bytes it counts for
);
CREATE INDEX messages_by_way ON messages (way, number);

-- received = sent + dropped + waiting, each way, at every commit.
CREATE TABLE counters (
  way TEXT PRIMARY KEY,
  received INTEGER NOT NULL DEFAULT 0,
  sent INTEGER NOT NULL DEFAULT 0,
  waiting INTEGER NOT NULL DEFAULT 0,
  bytes INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
INSERT INTO counters (way) VALUES ('out'), ('in');
CREATE TABLE dropped (
  way TEXT NOT NULL,
  reason TEXT NOT NULL,
  count INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  PRIMARY KEY (way, reason)
) WITHOUT ROWID;

-- What was taken last, what is subscribed, and how long the bridge has run.
CREATE TABLE notes (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
