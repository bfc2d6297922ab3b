-- Where the readings of a group lie whose times are over a day apart: without it they are looked for in all of that time.
CREATE TABLE stretches (
    stream INTEGER NOT NULL,
    first INTEGER NOT NULL, -- of the group
    since INTEGER NOT NULL,
    until INTEGER NOT NULL, -- included
    PRIMARY KEY (stream, first, since)
) WITHOUT ROWID;

CREATE TRIGGER stretches_go_with_their_group AFTER DELETE ON segments BEGIN
    DELETE FROM stretches WHERE stream = OLD.stream AND first = OLD.first;
END;
