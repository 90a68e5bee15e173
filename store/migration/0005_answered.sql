-- 1: a mail host of the domain answered in its last run. What is due of these is not to wait for
-- what is due of others.
ALTER TABLE domain ADD COLUMN answered INTEGER NOT NULL DEFAULT 0;
UPDATE domain SET answered = 1 WHERE assessed IS NOT NULL;
DROP INDEX domain_due;
CREATE INDEX domain_due ON domain (answered, due);
