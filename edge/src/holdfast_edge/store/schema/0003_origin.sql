-- What a thing was made for: late resources are known again by it. '' of what was made before this was kept.
ALTER TABLE owned ADD COLUMN instance TEXT NOT NULL DEFAULT '';
ALTER TABLE owned ADD COLUMN id TEXT NOT NULL DEFAULT '';
