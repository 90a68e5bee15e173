-- What is known of peers. Times are milliseconds and days are days since 1970-01-01 UTC.
-- A host is an IP prefix as text; '' is the pseudo-host "relayed".

CREATE TABLE domain (
  id              INTEGER PRIMARY KEY,
  name            TEXT    NOT NULL UNIQUE,
  organisation    TEXT    NOT NULL,
  first_seen      INTEGER,                    -- of credited sessions; NULL: none so far
  last_seen       INTEGER,
  credited        INTEGER NOT NULL DEFAULT 0, -- sessions in the window
  due             INTEGER NOT NULL,           -- when the next probe run is due
  observed        INTEGER NOT NULL DEFAULT 0, -- grows with each change of the evidence
  judged          INTEGER NOT NULL DEFAULT 0, -- the value of observed that the rest of the row rests on
  judged_at       INTEGER NOT NULL DEFAULT 0,
  assessed        INTEGER,                    -- when the facts were obtained; NULL: never probed
  status          TEXT    NOT NULL DEFAULT 'pending',
  confidentiality REAL,                       -- stars; NULL: no score
  identity        REAL,
  integrity       REAL
) STRICT;
CREATE INDEX domain_organisation ON domain (organisation);
CREATE INDEX domain_due          ON domain (due);
CREATE INDEX domain_unjudged     ON domain (judged_at) WHERE observed <> judged;

-- Credited sessions, never one by one.
CREATE TABLE tally (
  domain_id       INTEGER NOT NULL REFERENCES domain (id) ON DELETE CASCADE,
  host            TEXT    NOT NULL,
  day             INTEGER NOT NULL,
  sessions        INTEGER NOT NULL,
  starttls_passed INTEGER NOT NULL,
  starttls_failed INTEGER NOT NULL,
  spf_passed      INTEGER NOT NULL,
  spf_failed      INTEGER NOT NULL,
  dkim_passed     INTEGER NOT NULL,
  dkim_failed     INTEGER NOT NULL,
  last_seen       INTEGER NOT NULL,
  tokens          TEXT    NOT NULL,           -- JSON: sessions by "tls=TLSv1.3", "spf=pass", "proof=dkim+spf" ...
  PRIMARY KEY (domain_id, host, day)
) STRICT, WITHOUT ROWID;

-- Signatures that were credited to the pseudo-host "relayed", so that a replay counts once.
CREATE TABLE signature (
  domain_id INTEGER NOT NULL REFERENCES domain (id) ON DELETE CASCADE,
  id        BLOB    NOT NULL,
  day       INTEGER NOT NULL,
  PRIMARY KEY (domain_id, id)
) STRICT, WITHOUT ROWID;

-- DKIM keys seen in valid aligned signatures.
CREATE TABLE selector (
  domain_id INTEGER NOT NULL REFERENCES domain (id) ON DELETE CASCADE,
  domain    TEXT    NOT NULL,
  name      TEXT    NOT NULL,
  last_seen INTEGER NOT NULL,
  PRIMARY KEY (domain_id, domain, name)
) STRICT, WITHOUT ROWID;

-- Messages that claimed a known domain without proof. No score rests on this table.
CREATE TABLE unauthenticated (
  domain_id INTEGER NOT NULL REFERENCES domain (id) ON DELETE CASCADE,
  day       INTEGER NOT NULL,
  messages  INTEGER NOT NULL,
  PRIMARY KEY (domain_id, day)
) STRICT, WITHOUT ROWID;

CREATE TABLE facts (
  id        INTEGER PRIMARY KEY,
  domain_id INTEGER NOT NULL REFERENCES domain (id) ON DELETE CASCADE,
  at        INTEGER NOT NULL,
  size      INTEGER NOT NULL,                 -- of content, in octets
  content   TEXT    NOT NULL                  -- assess.Facts as JSON
) STRICT;
CREATE INDEX facts_domain ON facts (domain_id);

-- One row a judgement; an assessment that comes to the same judgement renews the row.
CREATE TABLE assessment (
  id        INTEGER PRIMARY KEY,
  domain_id INTEGER NOT NULL REFERENCES domain (id) ON DELETE CASCADE,
  since     INTEGER NOT NULL,                 -- when the judgement was first reached
  at        INTEGER NOT NULL,                 -- and last
  digest    BLOB    NOT NULL,                 -- of all that makes a judgement differ from another
  profile   TEXT    NOT NULL,
  status    TEXT    NOT NULL,
  basis     TEXT    NOT NULL,
  scores    TEXT    NOT NULL,                 -- assess.Scores as JSON
  verdicts  TEXT    NOT NULL,                 -- assess.Verdicts as JSON
  outbound  INTEGER NOT NULL,                 -- 1: the verdicts name outbound hosts
  facts_id  INTEGER REFERENCES facts (id),
  mx        TEXT    NOT NULL                  -- JSON: addresses of the MX hosts in the facts
) STRICT;
CREATE INDEX assessment_domain ON assessment (domain_id);
CREATE INDEX assessment_facts  ON assessment (facts_id);
CREATE INDEX assessment_at     ON assessment (at);

-- When the last probe run of an organisation began.
CREATE TABLE run (
  organisation TEXT    PRIMARY KEY,
  begun        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- assess.HostRecord: the last dialogue with one address under one server name.
CREATE TABLE mx_address (
  address     TEXT    NOT NULL,
  server_name TEXT    NOT NULL,
  at          INTEGER NOT NULL,
  failures    INTEGER NOT NULL,
  not_before  INTEGER,                    -- NULL: at once
  session     TEXT    NOT NULL,               -- assess.SMTPFacts as JSON
  PRIMARY KEY (address, server_name)
) STRICT;

-- Dialogues with the addresses of a network on one day (YYYY-MM-DD).
CREATE TABLE network (
  prefix    TEXT    NOT NULL,
  day       TEXT    NOT NULL,
  dialogues INTEGER NOT NULL,
  PRIMARY KEY (prefix, day)
) STRICT, WITHOUT ROWID;

-- Single values: the count of all messages without proof, the rules that the scores were judged by.
CREATE TABLE memo (
  name  TEXT PRIMARY KEY,
  value ANY  NOT NULL
) STRICT, WITHOUT ROWID;
