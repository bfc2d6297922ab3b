-- What people say of devices. labels is JSON; forgotten: not listed until a reading is later than this (ms since 1970; NULL: listed).
CREATE TABLE device_words (
  site TEXT NOT NULL,
  device TEXT NOT NULL,
  labels TEXT NOT NULL DEFAULT '{}',
  forgotten INTEGER,
  PRIMARY KEY (site, device)
) STRICT, WITHOUT ROWID;

-- What the properties of a device shall be: JSON, whole, with a version that only grows; delivered: the last its site has taken.
CREATE TABLE device_desired (
  site TEXT NOT NULL,
  device TEXT NOT NULL,
  version INTEGER NOT NULL,
  properties TEXT NOT NULL,
  author TEXT NOT NULL,
  at INTEGER NOT NULL,
  node TEXT NOT NULL,
  delivered INTEGER NOT NULL DEFAULT 0,
  delivered_at INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (site, device)
) STRICT, WITHOUT ROWID;

-- Commands to devices. state: waiting, answered, failed, expired; all but waiting are final. data and answer are JSON.
CREATE TABLE device_commands (
  id TEXT PRIMARY KEY,
  site TEXT NOT NULL,
  node TEXT NOT NULL,
  device TEXT NOT NULL,
  name TEXT NOT NULL,
  data TEXT NOT NULL,
  deadline INTEGER NOT NULL,
  author TEXT NOT NULL,
  at INTEGER NOT NULL,
  sent INTEGER NOT NULL DEFAULT 0,
  state TEXT NOT NULL DEFAULT 'waiting',
  reason TEXT NOT NULL DEFAULT '',
  answer TEXT NOT NULL DEFAULT 'null',
  ended INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX device_commands_by_device ON device_commands (site, device, at);
CREATE INDEX device_commands_waiting ON device_commands (site, node) WHERE state = 'waiting';

CREATE TRIGGER devices_go_with_their_site AFTER DELETE ON sites BEGIN
  DELETE FROM device_words WHERE site = OLD.name;
  DELETE FROM device_desired WHERE site = OLD.name;
  DELETE FROM device_commands WHERE site = OLD.name;
END;
