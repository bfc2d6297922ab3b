-- Which target the machine is kept at, and which ones it went back from.

CREATE TABLE roles_now (
  role TEXT PRIMARY KEY CHECK (role IN ('current', 'held', 'last-good')),
  target INTEGER NOT NULL REFERENCES targets (id),
  at INTEGER NOT NULL,
  reason TEXT NOT NULL
) WITHOUT ROWID;
INSERT INTO roles_now SELECT role, target, at, reason FROM roles;
INSERT INTO roles_now SELECT 'held', target, at, reason FROM roles WHERE role = 'current';
DROP TABLE roles;
ALTER TABLE roles_now RENAME TO roles;

-- Digests that are not tried again before a newer target says so, or a person.
CREATE TABLE bad (
  digest TEXT PRIMARY KEY,
  generation INTEGER NOT NULL,
  cause BLOB NOT NULL,
  at INTEGER NOT NULL,
  number INTEGER NOT NULL -- grows: the order they were found bad in
) WITHOUT ROWID;
