-- Coarser copies of readings, and how much room readings take; both are made of groups, once each ("folded").

-- Sites whose groups are noted for it.
CREATE TABLE folding (
    site TEXT PRIMARY KEY
) WITHOUT ROWID;

-- Groups stored there and not folded yet.
CREATE TABLE unfolded (
    stream INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    since INTEGER NOT NULL,
    until INTEGER NOT NULL,
    PRIMARY KEY (stream, first)
) WITHOUT ROWID;

CREATE TRIGGER groups_wait_to_be_folded AFTER INSERT ON segments
WHEN NEW.kind = 'readings'
    AND EXISTS (SELECT 1 FROM folding WHERE site = (SELECT site FROM streams WHERE id = NEW.stream))
BEGIN
    INSERT INTO unfolded VALUES (NEW.stream, NEW.first, NEW.last, NEW.since, NEW.until);
END;

-- A fork takes groups back.
CREATE TRIGGER groups_are_taken_back AFTER DELETE ON segments BEGIN
    DELETE FROM unfolded WHERE stream = OLD.stream AND first = OLD.first;
END;

-- Which series is folded how: `every` is the length of a span in milliseconds, 0: its size by day.
CREATE TABLE tiers (
    series INTEGER NOT NULL,
    every INTEGER NOT NULL,
    upto INTEGER, -- it has all folded readings before this time; NULL: all
    PRIMARY KEY (series, every)
) WITHOUT ROWID;

CREATE TABLE coarse (
    series INTEGER NOT NULL,
    every INTEGER NOT NULL,
    time INTEGER NOT NULL, -- a multiple of `every`
    count INTEGER NOT NULL,
    numbers INTEGER NOT NULL,
    least,
    greatest,
    total REAL, -- NULL: not a number
    last, -- of the reading (newest, stream, sequence)
    newest INTEGER NOT NULL,
    stream INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    PRIMARY KEY (series, every, time)
) WITHOUT ROWID;

-- Readings still there, by day.
CREATE TABLE sizes (
    series INTEGER NOT NULL,
    stream INTEGER NOT NULL,
    day INTEGER NOT NULL, -- milliseconds since 1970
    readings INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (series, stream, day)
) WITHOUT ROWID;

-- What retention took, and of which times. `every` 0: readings; else rows of a coarser copy.
CREATE TABLE taken (
    series INTEGER NOT NULL,
    every INTEGER NOT NULL,
    reason TEXT NOT NULL, -- MaxAge, MaxBytes
    since INTEGER NOT NULL,
    until INTEGER NOT NULL, -- not included
    rows INTEGER NOT NULL,
    PRIMARY KEY (series, every, reason)
) WITHOUT ROWID;
