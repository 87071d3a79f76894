module github.com/bauxite/caddy-kvaware/integration/bench/pii

go 1.26.0

require (
	github.com/bauxite/caddy-kvaware v0.0.0
	github.com/wasilibs/go-re2 v1.13.0
)

require golang.org/x/sys v0.48.0 // indirect

replace github.com/bauxite/caddy-kvaware => ../../..
