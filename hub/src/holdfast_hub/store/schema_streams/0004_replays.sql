-- What sinks are given once more, or had not been there for: of each stream the groups after one sequence up to another.
CREATE TABLE replays (
    name TEXT NOT NULL, -- of the sink
    stream INTEGER NOT NULL,
    after INTEGER NOT NULL,
    upto INTEGER NOT NULL,
    since INTEGER NOT NULL, -- readings of this time and later, milliseconds since 1970
    PRIMARY KEY (name, stream)
) WITHOUT ROWID;

-- Readings that retention took before the sink was given them.
ALTER TABLE sinks ADD COLUMN missed INTEGER NOT NULL DEFAULT 0;
