-- How far each life of a node (a boot, and the incarnation of its p0 in it) has been heard, so that what was said before
-- is known again. source is the incarnation for hellos, 'status' for statuses; turn grows when a life takes over.
CREATE TABLE heard (
  site TEXT NOT NULL,
  node TEXT NOT NULL,
  boot_id TEXT NOT NULL,
  source TEXT NOT NULL,
  counter INTEGER NOT NULL,
  turn INTEGER NOT NULL,
  PRIMARY KEY (site, node, boot_id, source),
  FOREIGN KEY (site, node) REFERENCES nodes (site, node) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- How often the newest target was published again to a site that does not take it.
ALTER TABLE targets ADD COLUMN tries INTEGER NOT NULL DEFAULT 0;
