-- The operator's own categories.
CREATE TABLE label (
  domain_id INTEGER NOT NULL REFERENCES domain (id) ON DELETE CASCADE,
  category  TEXT    NOT NULL,
  PRIMARY KEY (domain_id, category)
) STRICT, WITHOUT ROWID;
