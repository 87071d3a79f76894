module github.com/bauxite/caddy-kvaware/integration/bench/json

go 1.26.0

require github.com/bauxite/caddy-kvaware v0.0.0

require github.com/go-json-experiment/json v1.27.2

replace github.com/bauxite/caddy-kvaware => ../../..
