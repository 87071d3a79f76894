// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"net/http"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/cespare/xxhash/v2"

	"github.com/bauxite/caddy-kvaware/internal/answer"
	"github.com/bauxite/caddy-kvaware/internal/replay"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
	"github.com/bauxite/caddy-kvaware/janitor"
	"github.com/bauxite/caddy-kvaware/kvaware"
)

func init() { caddy.RegisterModule(new(rivalPolicy)) }

// rivalPolicy puts a policy of the replay in kv_aware's place in the gateway:
// behind the janitor, with the same signatures and the same answers.
type rivalPolicy struct {
	Name string `json:"name"` // in the replay
	live *replay.Picker
}

// rivals holds the policies that configs may name. Each is bound to its engines,
// which no config could express.
var rivals sync.Map // name -> *replay.Live

// The block size of kv_aware, so that all see the same share of a prompt.
const rivalBlockTokens = kvaware.DefaultBlockSize / 4

// prepareRival binds a rival to engines, for a config that names it.
func prepareRival(name string, engines []*enginesim.Engine, kvTokens int) error {
	nodes := make([]replay.Node, len(engines))
	for i, e := range engines {
		nodes[i] = engineMetrics{e}
	}
	live, err := replay.NewPicker(name, nodes, rivalBlockTokens, kvTokens, 1)
	rivals.Store(name, live)
	return err
}

// engineMetrics reads the engine's current metrics at each call.
type engineMetrics struct{ *enginesim.Engine }

func (e engineMetrics) Waiting() int   { return e.Stats().Waiting }
func (e engineMetrics) Usage() float64 { return e.Stats().KVUsage }

func (*rivalPolicy) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.selection_policies.test_rival",
		New: func() caddy.Module { return new(rivalPolicy) },
	}
}

func (p *rivalPolicy) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.Args(&p.Name) {
		return d.ArgErr()
	}
	return nil
}

func (p *rivalPolicy) Provision(ctx caddy.Context) error {
	live, known := rivals.Load(p.Name)
	if !known {
		return http.ErrNotSupported
	}
	p.live = live.(*replay.Picker)
	return nil
}

// Headers that save the rivals from parsing the body.
const (
	sessionHeader = "X-Session-Id"
	startHeader   = "X-Prompt-Start" // the prompt's first 100 characters
)

// Select ignores failed attempts: the engines of these tests do not fail.
func (p *rivalPolicy) Select(pool reverseproxy.UpstreamPool, r *http.Request, _ http.ResponseWriter) *reverseproxy.Upstream {
	x, ok := janitor.From(r)
	if !ok || !x.Attach(r) {
		return nil
	}
	signature, ok := x.Sign([]byte("the key of the rivals in tests"), x.Model(), "", kvaware.DefaultBlockSize, 0)
	if !ok {
		return nil
	}
	ticket := p.live.Pick(&replay.Request{
		Tokens:   max(1, signature.PromptBytes()/4),
		Output:   1,
		Chain:    signature.Chain(),
		Session:  xxhash.Sum64String(r.Header.Get(sessionHeader)),
		Affinity: xxhash.Sum64String(r.Header.Get(startHeader)),
	})
	x.Observe(rivalAttempt{ticket})
	return pool[ticket.Node()]
}

// rivalAttempt reports the progress of a request to a rival.
type rivalAttempt struct{ ticket *replay.Attempt }

func (rivalAttempt) Header(int, http.Header) {}
func (rivalAttempt) Response(string)         {}
func (f rivalAttempt) FirstToken()           { f.ticket.FirstToken() }
func (f rivalAttempt) Finish(bool)           {}
func (rivalAttempt) Usage(answer.Usage)      {}
func (f rivalAttempt) End(error)             { f.ticket.Done() }

// Interface guards
var (
	_ caddy.Provisioner     = (*rivalPolicy)(nil)
	_ caddyfile.Unmarshaler = (*rivalPolicy)(nil)
	_ reverseproxy.Selector = (*rivalPolicy)(nil)
	_ janitor.Observer      = rivalAttempt{}
)
