// SPDX-License-Identifier: Apache-2.0

package adapter

// The Caddy JSON that the adapter writes. It has its own types, so that the
// adapter needs neither the modules nor their packages; a test compares them with
// Caddy's.

type caddyConfig struct {
	Admin admin `json:"admin"`
	Apps  apps  `json:"apps"`
}

type admin struct {
	Listen string      `json:"listen"`
	Config adminConfig `json:"config"`
}

type adminConfig struct {
	Persist bool `json:"persist"`
}

type apps struct {
	HTTP httpApp `json:"http"`
	TLS  tlsApp  `json:"tls"`
}

type httpApp struct {
	Servers map[string]server `json:"servers"`
}

type server struct {
	Listen         []string `json:"listen"`
	Routes         []route  `json:"routes"`
	AutomaticHTTPS struct {
		Disable bool `json:"disable"`
	} `json:"automatic_https"`
}

type tlsApp struct {
	DisableStorageCheck bool `json:"disable_storage_check"`
	DisableStorageClean bool `json:"disable_storage_clean"`
}

type route struct {
	Match    []matcher `json:"match,omitempty"`
	Handle   []any     `json:"handle"`
	Terminal bool      `json:"terminal,omitempty"`
}

type matcher struct {
	Path []string `json:"path"`
}

type janitorHandler struct {
	Handler string `json:"handler"` // pii_janitor
}

type rewriteHandler struct {
	Handler         string `json:"handler"` // rewrite
	StripPathPrefix string `json:"strip_path_prefix"`
}

type proxyHandler struct {
	Handler       string        `json:"handler"` // reverse_proxy
	Transport     *transport    `json:"transport,omitempty"`
	LoadBalancing loadBalancing `json:"load_balancing"`
	Upstreams     []upstream    `json:"upstreams"`
}

type transport struct {
	Protocol string   `json:"protocol"` // http
	TLS      struct{} `json:"tls"`
}

type loadBalancing struct {
	SelectionPolicy kvAware `json:"selection_policy"`
}

type kvAware struct {
	Policy     string `json:"policy"` // kv_aware
	RadixDepth int    `json:"radix_depth"`
	Fallback   policy `json:"fallback"`
}

type policy struct {
	Policy string `json:"policy"`
}

type upstream struct {
	Dial string `json:"dial"`
}

// build returns the Caddy config of a checked configuration. The janitor is the
// first route, so that no request can bypass it.
func build(cfg *config) caddyConfig {
	s := server{
		Listen: []string{":8080"},
		Routes: []route{{Handle: []any{janitorHandler{"pii_janitor"}}}},
	}
	s.AutomaticHTTPS.Disable = true
	for i := range cfg.clusters {
		prefix := "/" + cfg.clusters[i].name
		s.Routes = append(s.Routes, route{
			Match:    []matcher{{Path: []string{prefix + "/*"}}},
			Handle:   []any{rewriteHandler{"rewrite", prefix}, proxy(cfg, &cfg.clusters[i])},
			Terminal: true,
		})
	}
	s.Routes = append(s.Routes, route{Handle: []any{proxy(cfg, &cfg.clusters[0])}})
	return caddyConfig{
		Admin: admin{Listen: "localhost:2019", Config: adminConfig{Persist: false}},
		Apps: apps{
			HTTP: httpApp{Servers: map[string]server{"bauxite": s}},
			TLS:  tlsApp{DisableStorageCheck: true, DisableStorageClean: true},
		},
	}
}

// proxy returns the reverse proxy of one cluster. The policy retries by itself, and
// leaves nodes that fail.
func proxy(cfg *config, c *cluster) proxyHandler {
	p := proxyHandler{
		Handler: "reverse_proxy",
		LoadBalancing: loadBalancing{
			SelectionPolicy: kvAware{Policy: "kv_aware", RadixDepth: cfg.radixDepth, Fallback: policy{cfg.fallback}},
		},
	}
	if c.https {
		p.Transport = &transport{Protocol: "http"}
	}
	for _, dial := range c.dials {
		p.Upstreams = append(p.Upstreams, upstream{dial})
	}
	return p
}
