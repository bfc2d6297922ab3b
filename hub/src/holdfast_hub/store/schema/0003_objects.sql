-- Objects of Holdfast's own kinds that go to the sites their placement selects. spec (without placement) and placement are JSON.
CREATE TABLE objects (
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  digest TEXT NOT NULL,
  source TEXT NOT NULL,
  file TEXT NOT NULL,
  line INTEGER NOT NULL,
  spec TEXT NOT NULL,
  placement TEXT NOT NULL,
  author TEXT NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (kind, name)
) STRICT;

-- The blueprint revision an instance is to keep; 0 to follow the newest.
ALTER TABLE instances ADD COLUMN pin INTEGER NOT NULL DEFAULT 0;

-- A digest of the names of what was placed on the site when the target was composed; '' of one composed before this was kept.
ALTER TABLE targets ADD COLUMN placed TEXT NOT NULL DEFAULT '';
