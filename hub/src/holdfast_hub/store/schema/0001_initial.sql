-- hub.db: what the fleet should be and what its sites said last. Times are milliseconds since 1970, the hub's clock.

CREATE TABLE meta (
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The newest revision of each blueprint that exists; its revisions stay when it is deleted.
CREATE TABLE blueprints (
  name TEXT PRIMARY KEY,
  kind TEXT NOT NULL UNIQUE,
  revision INTEGER NOT NULL,
  FOREIGN KEY (name, revision) REFERENCES blueprint_revisions (name, revision)
) STRICT;

CREATE TABLE blueprint_revisions (
  name TEXT NOT NULL,
  revision INTEGER NOT NULL,
  digest TEXT NOT NULL,
  source TEXT NOT NULL,
  file TEXT NOT NULL,
  line INTEGER NOT NULL,
  author TEXT NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (name, revision)
) STRICT;

-- revision: the blueprint's revision that last changed the resources; they are stored as rendered then, so that a newer
-- renderer changes no site by being started. spec (the values, defaults filled in) and placement are
-- JSON, null for no placement.
CREATE TABLE instances (
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  blueprint TEXT NOT NULL REFERENCES blueprints (name),
  digest TEXT NOT NULL,
  source TEXT NOT NULL,
  file TEXT NOT NULL,
  line INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  spec TEXT NOT NULL,
  placement TEXT NOT NULL,
  resources BLOB NOT NULL,
  author TEXT NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (kind, name)
) STRICT;

-- conflict_*: where the site says it is when that is ahead of us; all zero when it is not.
CREATE TABLE sites (
  name TEXT PRIMARY KEY,
  partition TEXT NOT NULL,
  labels TEXT NOT NULL,
  zones TEXT NOT NULL,
  region TEXT NOT NULL,
  provider TEXT NOT NULL,
  at INTEGER NOT NULL,
  conflict_epoch INTEGER NOT NULL DEFAULT 0,
  conflict_generation INTEGER NOT NULL DEFAULT 0,
  conflict_digest TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX sites_by_partition ON sites (partition);

-- The last generation given out; outlives the site, so that one added again does not go back.
CREATE TABLE generations (
  site TEXT PRIMARY KEY,
  generation INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE nodes (
  site TEXT NOT NULL REFERENCES sites (name) ON DELETE CASCADE,
  node TEXT NOT NULL,
  partition TEXT NOT NULL,
  public BLOB NOT NULL,
  at INTEGER NOT NULL,
  online INTEGER NOT NULL DEFAULT 0,
  session TEXT NOT NULL DEFAULT '',
  boot_id TEXT NOT NULL DEFAULT '',
  agent TEXT NOT NULL DEFAULT '',
  seen_at INTEGER NOT NULL DEFAULT 0,
  epoch INTEGER NOT NULL DEFAULT 0,
  generation INTEGER NOT NULL DEFAULT 0,
  digest TEXT NOT NULL DEFAULT '',
  facts TEXT NOT NULL DEFAULT '{}',
  hello BLOB,
  hello_at INTEGER NOT NULL DEFAULT 0,
  status BLOB,
  status_at INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (site, node)
) STRICT, WITHOUT ROWID;
CREATE INDEX nodes_by_partition ON nodes (partition);

CREATE TABLE contents (
  digest TEXT PRIMARY KEY,
  body BLOB NOT NULL
) STRICT;

-- Also the outbox: published is 0 waiting, 1 with the broker, 2 superseded before it went out, 3 larger than the broker carries.
CREATE TABLE targets (
  site TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  generation INTEGER NOT NULL,
  partition TEXT NOT NULL,
  digest TEXT NOT NULL REFERENCES contents (digest),
  previous TEXT NOT NULL,
  issued_at INTEGER NOT NULL,
  published INTEGER NOT NULL DEFAULT 0,
  published_at INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (site, epoch, generation)
) STRICT, WITHOUT ROWID;
CREATE INDEX targets_waiting ON targets (partition, site) WHERE published = 0;
CREATE INDEX targets_by_digest ON targets (digest);

-- Deleted sites whose retained messages the broker must forget.
CREATE TABLE forgotten (
  site TEXT PRIMARY KEY,
  partition TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What could not be accepted, counted; site and node are '' when the message named none of ours.
CREATE TABLE problems (
  site TEXT NOT NULL,
  node TEXT NOT NULL,
  channel TEXT NOT NULL,
  reason TEXT NOT NULL,
  message TEXT NOT NULL,
  count INTEGER NOT NULL,
  first_at INTEGER NOT NULL,
  last_at INTEGER NOT NULL,
  PRIMARY KEY (site, node, channel, reason)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at INTEGER NOT NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  detail TEXT NOT NULL
) STRICT;

-- What a change was of, when it was of several things at once.
CREATE TABLE audit_subjects (
  subject TEXT NOT NULL,
  id INTEGER NOT NULL REFERENCES audit (id),
  PRIMARY KEY (subject, id)
) STRICT, WITHOUT ROWID;
