-- Why a test came out as it did is a token (assess.Reason) and no longer read from the words beside
-- it. Where the words of facts and dialogues tell, the token is put before them; without one the
-- reason that stands for the result applies. The keys of a text are those of Go's encoder, so that
-- no text of a peer, whose quotation marks are escaped, looks like them. The timing of a run is
-- not stored any more.
UPDATE mx_address SET session = json_set(session, '$.reason', CASE
    WHEN json_extract(session, '$.problem') LIKE 'budget: %' THEN 'budget-exhausted'
    WHEN json_extract(session, '$.problem') LIKE '%the run was over' THEN 'run-over'
    WHEN json_extract(session, '$.problem') LIKE '%: timeout' THEN 'smtp-timeout'
    ELSE 'dialogue-failure' END)
  WHERE iif(json_valid(session), coalesce(json_extract(session, '$.outcome'), '') = '', 0);

UPDATE mx_address SET session = json_set(session, '$.other.shown.reason',
    iif(json_extract(session, '$.other.shown.detail') LIKE 'budget: %', 'budget-exhausted', 'run-over'))
  WHERE iif(json_valid(session), json_extract(session, '$.other.shown.detail') LIKE 'budget: %' OR
    json_extract(session, '$.other.shown.detail') LIKE '%the run was over', 0);

UPDATE facts SET content = json_set(content, '$.spf.valid.reason',
    iif(json_extract(content, '$.spf.valid.detail') LIKE '%too many DNS look-ups%', 'spf-lookup-limit', 'spf-void-lookup-limit'))
  WHERE iif(json_valid(content), json_extract(content, '$.spf.valid.result') = 'fail' AND (
    json_extract(content, '$.spf.valid.detail') LIKE '%too many DNS look-ups%' OR
    json_extract(content, '$.spf.valid.detail') LIKE '%void look-up limit%'), 0);

UPDATE facts SET content =
  replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(json_remove(content, '$.timing'),
  '"problem":"budget: ', '"reason":"budget-exhausted","problem":"budget: '),
  '"problem":"connect: timeout', '"reason":"smtp-timeout","problem":"connect: timeout'),
  '"problem":"greeting: timeout', '"reason":"smtp-timeout","problem":"greeting: timeout'),
  '"problem":"ehlo: timeout', '"reason":"smtp-timeout","problem":"ehlo: timeout'),
  '"problem":"starttls: timeout', '"reason":"smtp-timeout","problem":"starttls: timeout'),
  '"problem":"handshake: timeout', '"reason":"smtp-timeout","problem":"handshake: timeout'),
  '"problem":"tls-ehlo: timeout', '"reason":"smtp-timeout","problem":"tls-ehlo: timeout'),
  '"trusted":{"result":"fail","detail":"self-signed', '"trusted":{"result":"fail","reason":"self-signed","detail":"self-signed'),
  '"trusted":{"result":"fail","detail":"missing intermediate', '"trusted":{"result":"fail","reason":"intermediate-missing","detail":"missing intermediate'),
  '"trusted":{"result":"fail","detail":"the intermediate certificate', '"trusted":{"result":"fail","reason":"intermediate-expired","detail":"the intermediate certificate'),
  '"trusted":{"result":"fail","detail":"bad signature', '"trusted":{"result":"fail","reason":"issuer-mismatch","detail":"bad signature'),
  '"trusted":{"result":"fail","detail":"not an authority', '"trusted":{"result":"fail","reason":"issuer-mismatch","detail":"not an authority'),
  '"dated":{"result":"fail","detail":"expired on', '"dated":{"result":"fail","reason":"certificate-expired","detail":"expired on'),
  '"dated":{"result":"fail","detail":"not yet valid', '"dated":{"result":"fail","reason":"certificate-not-yet-valid","detail":"not yet valid'),
  '"fetched":{"result":"fail","detail":"the policy host''s certificate', '"fetched":{"result":"fail","reason":"mta-sts-policy-host-certificate","detail":"the policy host''s certificate'),
  '"match":{"result":"fail","detail":"the policy does not list it', '"match":{"result":"fail","reason":"mta-sts-host-not-listed","detail":"the policy does not list it'),
  '"reason":"timeout', '"timeout":true,"reason":"timeout')
  WHERE json_valid(content);

-- Here the words begin with the name of the certificate, so that each has to be looked for.
UPDATE facts SET content = (
  WITH RECURSIVE
    wrong (n, path) AS (
      SELECT row_number() OVER (), fullkey FROM json_tree(content)
      WHERE key = 'trusted' AND type = 'object' AND json_extract(value, '$.reason') IS NULL
        AND json_extract(value, '$.detail') LIKE '%is not for TLS, by its key usage%'),
    told (n, text) AS (
      SELECT 0, content UNION ALL
      SELECT wrong.n, json_set(text, wrong.path || '.reason', 'key-usage') FROM told JOIN wrong ON wrong.n = told.n + 1)
  SELECT text FROM told ORDER BY n DESC LIMIT 1)
  WHERE iif(json_valid(content), content LIKE '%is not for TLS, by its key usage%', 0);

UPDATE facts SET size = length(CAST(content AS BLOB)) WHERE size <> length(CAST(content AS BLOB));
