-- Dialogues with a network on one day (YYYY-MM-DD), of all and of each part that has a limit: what
-- an organisation caused, for one. They take the place of the sums of networks alone.
DROP TABLE network;
CREATE TABLE share (
  network   TEXT    NOT NULL,
  part      TEXT    NOT NULL,
  day       TEXT    NOT NULL,
  dialogues INTEGER NOT NULL,
  PRIMARY KEY (network, part, day)
) STRICT, WITHOUT ROWID;

-- The organisation whose run held a dialogue; '': not known.
ALTER TABLE mx_address ADD COLUMN organisation TEXT NOT NULL DEFAULT '';
