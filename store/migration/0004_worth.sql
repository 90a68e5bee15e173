-- What a domain is worth keeping (store/domain.go, worthOf): the one that is worth least goes
-- when there are too many.
ALTER TABLE domain ADD COLUMN learned INTEGER NOT NULL DEFAULT 0; -- 1: our own users write to it
ALTER TABLE domain ADD COLUMN worth   INTEGER NOT NULL DEFAULT 0;
CREATE INDEX domain_worth ON domain (worth);

UPDATE domain SET learned = 1 WHERE first_seen IS NULL; -- or the operator asked for it
UPDATE domain SET worth = 4096 * EXISTS (SELECT 1 FROM label WHERE domain_id = domain.id)
  + 512 * learned + 8 * min(31, coalesce(last_seen / 86400000 - first_seen / 86400000, 0))
  + 4 * (assessed IS NOT NULL) + min(credited, 3);
