module peerscore/contrib/differential

go 1.26.0

require peerscore v0.0.0

replace peerscore => ../..
