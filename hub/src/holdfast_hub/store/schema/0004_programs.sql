-- What an instance's sites evaluate, as JSON; null: its resources say everything. Stored as rendered, like the resources.
ALTER TABLE instances ADD COLUMN program TEXT NOT NULL DEFAULT 'null';
