dnl What Sendmail needs for peerscore; add it to sendmail.mc and rebuild sendmail.cf.
dnl Without an F= flag a filter that fails is passed by, so that mail flows.
INPUT_MAIL_FILTER(`peerscore', `S=inet:8894@127.0.0.1, T=C:2s;S:10s;R:20s;E:20s')dnl
