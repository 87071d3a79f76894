module github.com/bauxite/caddy-kvaware/integration/bench/radix

go 1.26.0

require (
	github.com/bauxite/caddy-kvaware v0.0.0
	github.com/hashicorp/go-immutable-radix/v2 v2.1.0
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/hashicorp/golang-lru/v2 v2.0.0 // indirect
)

replace github.com/bauxite/caddy-kvaware => ../../..
