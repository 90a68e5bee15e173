module peerscore/contrib/differential

go 1.26.0

require peerscore v0.0.0

require blitiri.com.ar/go/spf v1.6.0

replace peerscore => ../..
