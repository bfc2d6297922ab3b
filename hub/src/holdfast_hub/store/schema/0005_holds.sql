-- Holds made at the hub, until they end or are released: one row a site. resources is JSON, [] for everything there.
CREATE TABLE holds (
  id TEXT PRIMARY KEY,
  site TEXT NOT NULL,
  reason TEXT NOT NULL,
  resources TEXT NOT NULL,
  seconds INTEGER NOT NULL,
  until INTEGER NOT NULL,
  author TEXT NOT NULL,
  at INTEGER NOT NULL
) STRICT;

-- IANA name of the zone its windows are in when they name none; '' for the node's own.
ALTER TABLE sites ADD COLUMN time_zone TEXT NOT NULL DEFAULT '';
