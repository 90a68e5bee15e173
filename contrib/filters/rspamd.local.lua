-- Symbols for rspamd that read the fields of peerscore. Append to /etc/rspamd/rspamd.local.lua
-- and try with "rspamadm configtest".
--
-- A message without stars says so: some Peer-Score has "status=". A sender may write more fields
-- of its own than peerscore removes, which then count for nothing.
--
-- One asterisk is half a star. rspamd sees the fields when its milter comes after peerscore's
-- in smtpd_milters. Keep the scores small: stars say how well a provider protects its mail,
-- not whether the mail is wanted.

config['regexp']['PEERSCORE_UNPROVEN'] = {
  re = 'Peer-Score=/;\\s+status=unauthenticated\\b/H',
  score = 0.5,
  description = 'Nothing proves that the message comes from its author domain',
  group = 'peerscore',
}

config['regexp']['PEERSCORE_PROTECTED'] = {
  re = 'Peer-Score-Identity=/^\\s*\\*{7}/H & Peer-Score-Integrity=/^\\s*\\*{7}/H & !Peer-Score=/;\\s+status=/H',
  score = -0.2,
  description = 'Proven, from a provider with 3.5 stars or more against forgery',
  group = 'peerscore',
}

config['regexp']['PEERSCORE_UNPROTECTED'] = {
  re = 'Peer-Score=/;\\s+identity=[0-9.]+/H & !Peer-Score-Identity=/^\\s*\\*{5}/H & !Peer-Score=/;\\s+status=/H',
  score = 0.2,
  description = 'Proven, from a provider with less than 2.5 stars against forgery',
  group = 'peerscore',
}
