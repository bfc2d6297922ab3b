-- Devices are listed in the transaction of their first reading: a series is made once, and nothing is paid for it later.
CREATE TABLE devices (
    site TEXT NOT NULL,
    device TEXT NOT NULL,
    first_seen INTEGER NOT NULL, -- SQLite's clock; of devices older than this table the time of their first reading
    PRIMARY KEY (site, device)
) WITHOUT ROWID;

CREATE TABLE device_counts (
    site TEXT PRIMARY KEY,
    listed INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TRIGGER devices_are_counted AFTER INSERT ON devices BEGIN
    INSERT INTO device_counts VALUES (NEW.site, 1) ON CONFLICT DO UPDATE SET listed = listed + 1;
END;

INSERT INTO devices
    SELECT site, device, coalesce(min((SELECT min(time) FROM readings WHERE series = series.id)), 0)
    FROM series GROUP BY site, device;

-- A site lists 10,000; readings of more are stored all the same.
CREATE TRIGGER devices_are_listed AFTER INSERT ON series
WHEN NOT EXISTS (SELECT 1 FROM devices WHERE site = NEW.site AND device = NEW.device)
    AND coalesce((SELECT listed FROM device_counts WHERE site = NEW.site), 0) < 10000
BEGIN
    INSERT INTO devices VALUES (NEW.site, NEW.device, CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER));
END;

-- Stored groups in the order in which they came, for sinks; nothing is kept while there is no sink.
CREATE TABLE sinks (
    name TEXT PRIMARY KEY,
    position INTEGER NOT NULL, -- of the last arrival dealt with
    sent INTEGER NOT NULL DEFAULT 0, -- readings taken over there, counted again when sent again
    skipped INTEGER NOT NULL DEFAULT 0, -- groups that were given up: too far behind
    refused INTEGER NOT NULL DEFAULT 0, -- readings the other side will not take
    sent_at INTEGER NOT NULL DEFAULT 0, -- hub's clock, milliseconds since 1970; 0: never
    since INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE arrivals (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    stream INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    since INTEGER NOT NULL,
    until INTEGER NOT NULL
);

CREATE TRIGGER groups_arrive AFTER INSERT ON segments
WHEN NEW.kind = 'readings' AND EXISTS (SELECT 1 FROM sinks)
BEGIN
    INSERT INTO arrivals (stream, first, last, since, until)
        VALUES (NEW.stream, NEW.first, NEW.last, NEW.since, NEW.until);
END;

-- Readings taken away by retention, by stream: `stored` of a stream counts them still.
CREATE TABLE retired (
    stream INTEGER PRIMARY KEY REFERENCES streams,
    readings INTEGER NOT NULL
);
