-- Tells one replay of a sink from the next: what was under way for the one before moves nothing of it.
ALTER TABLE replays ADD COLUMN begun INTEGER NOT NULL DEFAULT 0;
