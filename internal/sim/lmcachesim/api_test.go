// SPDX-License-Identifier: Apache-2.0

package lmcachesim

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

// startNode starts a node of 4-token chunks with one model, at a thousand
// times the speed.
func startNode(t *testing.T, address string, change func(*NodeConfig)) *Node {
	t.Helper()
	cfg := NodeConfig{Sizes: Sizes{ChunkTokens: 4, DiskRate: 1000}, WorldSize: 2, Speed: 1000}
	if change != nil {
		change(&cfg)
	}
	n, err := StartNode(address, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	n.Register("m")
	return n
}

func ask(t *testing.T, method, url, body string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return "no answer"
	}
	defer answer.Body.Close()
	got, err := io.ReadAll(answer.Body)
	if err != nil {
		return "no answer"
	}
	return fmt.Sprint(answer.StatusCode, " ", string(got))
}

// expectAnswers takes pairs of lines: "METHOD PATH BODY" to send, and the answer, in
// which ID, TIME and PORT stand for any value.
func expectAnswers(t *testing.T, base string, lines ...string) {
	t.Helper()
	for i := 0; i < len(lines); i += 2 {
		parts := strings.SplitN(lines[i]+" ", " ", 3)
		got := ask(t, parts[0], base+parts[1], strings.TrimSpace(parts[2]))
		pattern := strings.NewReplacer("ID", "[0-9a-zA-Z]+", "TIME", `[0-9.]+`, "PORT", "[0-9]+").Replace(regexp.QuoteMeta(lines[i+1]))
		if !regexp.MustCompile("^" + pattern + "$").MatchString(got) {
			t.Errorf("%s\n got %s\nwant %s", lines[i], got, lines[i+1])
		}
	}
}

func eight() []uint32 { return []uint32{1, 2, 3, 4, 5, 6, 7, 8} }

func TestNodeAnswers(t *testing.T) {
	n := startNode(t, "127.0.0.1:0", nil)
	n.Store(0, n.Chain("m", "s", eight()))
	n.EvictMemory()
	const order = `POST /cache/prefetches {"model_name":"m","world_size":2,"token_ids":[1,2,3,4,5,6,7,8,9],"cache_salt":"s"`
	expectAnswers(t, n.URL(),
		`GET /status`, `200 {"is_healthy":true,"engine_type":"MPCacheServer","chunk_size":4,"hash_algorithm":"blake3","registered_gpu_ids":[0],"cache_context_meta":{"0":{"model_name":"m","world_size":2}},"registered_non_cuda_instance_ids":[],"non_cuda_context_meta":{},"active_prefetch_jobs":0}`,
		`GET /api/status`, `404 {"detail":"Not Found"}`,
		`GET /healthcheck`, `200 {"status":"healthy"}`,
		order+`,"source_tier":"l2","target_tier":"l1"}`, `202 {"request_id":"00000000000000000000000000000001","chunks":2,"status":"submitted"}`,
		order+`,"source_tier":"l1"}`, `400 {"detail":"unsupported prefetch direction; only 'l2'->'l1'"}`,
		`POST /cache/prefetches {"model_name":"m","world_size":2,"token_ids":[1,2,3]}`, `202 {"chunks":0,"status":"noop"}`,
		`POST /cache/prefetches {"model_name":"m","world_size":1,"token_ids":[1,2,3]}`, `503 {"detail":"no layout registered; the model has not allocated KV cache on this node yet"}`,
		`POST /cache/prefetches {"model_name":"m","world_size":2,"token_ids":[1],"cache_salt":"a@b"}`, `400 {"detail":"cache_salt must not contain '@'"}`,
		`POST /cache/prefetches {"world_size":2}`, `422 {"detail":[{"type":"missing","loc":["body","model_name"],"msg":"Field required"},{"type":"missing","loc":["body","token_ids"],"msg":"Field required"}]}`,
		`POST /cache/prefetches {"model_name":"m","world_size":2,"token_ids":["x"]}`, `422 {"detail":[{"type":"type_error","loc":["body","token_ids"],"msg":"Input should be of another type"}]}`,
		`POST /cache/prefetches {`, `422 {"detail":[{"type":"json_invalid","loc":["body"],"msg":"JSON decode error"}]}`,
		`POST /cache/prefetches {"model_name":"m","world_size":2,"token_ids":[1`+strings.Repeat(",1", maxTokens)+`]}`, `400 {"detail":"too many token_ids in a single request (limit=1000000, got=1000001)"}`,
		`GET /cache/prefetches/nothing`, `404 {"detail":"unknown prefetch request_id (already completed or never submitted)"}`,
		`POST /l2/prefetch {}`, `404 {"detail":"Not Found"}`,
	)
	const poll = `GET /cache/prefetches/00000000000000000000000000000001`
	deadline := time.Now().Add(10 * time.Second)
	for strings.Contains(ask(t, "GET", n.URL()+"/status", ""), `"active_prefetch_jobs":1`) {
		got := ask(t, "GET", n.URL()+strings.TrimPrefix(poll, "GET "), "")
		if got == `200 {"request_id":"00000000000000000000000000000001","status":"completed","found_keys":4,"total_keys":4}` {
			break
		}
		if got != `200 {"request_id":"00000000000000000000000000000001","status":"pending"}` || time.Now().After(deadline) {
			t.Fatal(got)
		}
	}
	expectAnswers(t, n.URL(), poll, `404 {"detail":"unknown prefetch request_id (already completed or never submitted)"}`)
	if memory, all := n.Held("m", "s", eight()); memory != 8 || all != 8 {
		t.Errorf("%d tokens in memory, %d in all", memory, all)
	}
	expectAnswers(t, n.URL(), `POST /cache/clear`, `200 {"status":"ok","cleared":{"tier":"l1"}}`)
	if memory, all := n.Held("m", "s", eight()); memory != 0 || all != 8 {
		t.Errorf("%d tokens in memory, %d in all after clearing", memory, all)
	}
	if s := n.Stats(); s.Stagings != 1 || s.Staged != 2 || s.Resident != 0 || s.OnDisk != 2 {
		t.Errorf("stats %+v", s)
	}
}

func TestOlderPaths(t *testing.T) {
	n := startNode(t, "127.0.0.1:0", func(c *NodeConfig) { c.OlderPaths = true })
	expectAnswers(t, n.URL(),
		`GET /api/status`, `200 {"is_healthy":true,"engine_type":"MPCacheEngine","chunk_size":4,"hash_algorithm":"builtin","registered_gpu_ids":[0],"gpu_context_meta":{"0":{"model_name":"m","world_size":2}},"active_prefetch_jobs":0}`,
		`GET /status`, `404 {"detail":"Not Found"}`,
		`GET /api/healthcheck`, `200 {"status":"healthy"}`,
	)
}

func TestCoordinatorAnswers(t *testing.T) {
	a, b := startNode(t, "127.0.0.1:0", nil), startNode(t, "127.0.0.2:0", nil)
	c, err := StartCoordinator("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	c.Register("mp/a", a)
	c.Register("mp-b", b)
	a.Store(0, a.Chain("m", "", eight()[:4]))
	b.Store(0, b.Chain("m", "", eight()))
	b.EvictMemory()
	chain := a.Chain("m", "", eight())
	key := func(i, rank int) string {
		return fmt.Sprintf(`"key":{"chunk_hash_hex":"%016x","model_name":"m","kv_rank":%d,"object_group_id":0,"cache_salt":""}`, chain[i], rank)
	}
	place := func(node, tier, backend string) string {
		return fmt.Sprintf(`{"instance_id":%q,"incarnation":1,"tier":%q,"backend":%q,"size_bytes":262144,"shared":false}`, node, tier, backend)
	}
	both := `"placements":[` + place("mp/a", "l1", "cpu") + "," + place("mp/a", "l2", "fs") + "," + place("mp-b", "l2", "fs") + `],"token_ids":[1,2,3,4]}`
	one := `"placements":[` + place("mp-b", "l2", "fs") + `],"token_ids":[5,6,7,8]}`
	refused := `{"detail":"prefetch submit to 'mp-b' failed: Server error '503 Service Unavailable' for url '` + b.URL() +
		`/cache/prefetches'\nFor more information check: https://developer.mozilla.org/en-US/docs/Web/HTTP/Status/503"}`
	expectAnswers(t, c.URL(),
		`GET /instances`, `200 {"instances":[{"instance_id":"mp/a","ip":"127.0.0.1","http_port":PORT,"registration_time":TIME,"metadata":{},"p2p_advertised_url":"","mq_port":0},{"instance_id":"mp-b","ip":"127.0.0.2","http_port":PORT,"registration_time":TIME,"metadata":{},"p2p_advertised_url":"","mq_port":0}]}`,
		`POST /directory/lookup {"token_ids":[1,2,3,4,5,6,7,8,9],"model_name":"m","world_size":2,"cache_salt":""}`,
		`200 {"chunks":2,"results":[{`+key(0, 0)+","+both+`,{`+key(0, 1)+","+both+`,{`+key(1, 0)+","+one+`,{`+key(1, 1)+","+one+`]}`,
		`POST /directory/lookup {"token_ids":[1],"model_name":"m","world_size":2,"cache_salt":""}`, `200 {"chunks":0,"results":[]}`,
		`POST /directory/lookup {"model_name":"m"}`, `422 {"detail":[{"type":"value_error","loc":["body"],"msg":"Value error, exactly one of keys and token_ids"}]}`,
		`POST /cache/prefetches {"instance_id":"mp/a","model_name":"m","world_size":2,"token_ids":[1,2,3,4],"cache_salt":""}`, `200 {"instance_id":"mp/a","request_id":"00000000000000000000000000000001","chunks":1,"status":"submitted"}`,
		`GET /cache/prefetches/mp%2Fa/00000000000000000000000000000001`, `200 {"request_id":"00000000000000000000000000000001","status":"completed","found_keys":2,"total_keys":2}`,
		`GET /cache/prefetches/mp%2Fa/00000000000000000000000000000001`, `404 {"detail":"unknown prefetch request_id (already completed or never submitted)"}`,
		`POST /cache/prefetches {"instance_id":"mp-b","model_name":"m","world_size":2,"token_ids":[1]}`, `200 {"instance_id":"mp-b","request_id":"","chunks":0,"status":"noop"}`,
		`POST /cache/prefetches {"instance_id":"mp-b","model_name":"other","world_size":2,"token_ids":[1]}`, "502 "+refused,
		`POST /cache/prefetches {"instance_id":"mp-c","model_name":"m","world_size":2,"token_ids":[1]}`, `404 {"detail":"no MP server registered with that instance_id"}`,
		`GET /cache/prefetches/mp-c/x`, `404 {"detail":"no MP server registered with that instance_id"}`,
		`GET /healthz`, `200 {"status":"ok"}`,
	)
}

// TestCoordinatorIsBehind: between reports the directory is behind.
func TestCoordinatorIsBehind(t *testing.T) {
	a := startNode(t, "127.0.0.1:0", nil)
	c, err := StartCoordinator("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	c.Register("a", a)
	c.ReportEvery(time.Hour)
	a.Store(0, a.Chain("m", "", eight()))
	const lookup = `{"token_ids":[1,2,3,4],"model_name":"m","world_size":1}`
	if got := ask(t, "POST", c.URL()+"/directory/lookup", lookup); !strings.Contains(got, `"placements":[]`) {
		t.Errorf("before it was reported: %s", got)
	}
	c.report()
	if got := ask(t, "POST", c.URL()+"/directory/lookup", lookup); !strings.Contains(got, `"instance_id":"a"`) {
		t.Errorf("after it was reported: %s", got)
	}
	a.EvictMemory()
	if got := ask(t, "POST", c.URL()+"/directory/lookup", lookup); !strings.Contains(got, `"tier":"l1"`) {
		t.Errorf("an eviction is known at once: %s", got)
	}
}

func TestFaults(t *testing.T) {
	n := startNode(t, "127.0.0.1:0", nil)
	n.Store(0, n.Chain("m", "", eight()))
	n.EvictMemory()
	const order = `POST /cache/prefetches {"model_name":"m","world_size":2,"token_ids":[1,2,3,4,5,6,7,8]}`
	fault := func(f Fault, lines ...string) {
		t.Helper()
		n.Fault(f)
		expectAnswers(t, n.URL(), lines...)
		n.Heal()
	}
	fault(Fault{Kind: Status}, order, `500 {"detail":"the simulation was told to fail"}`)
	fault(Fault{Kind: Status, Status: 404, Path: "/status"}, `GET /status`, `404 {"detail":"the simulation was told to fail"}`, `GET /healthcheck`, `200 {"status":"healthy"}`)
	fault(Fault{Kind: Garbage}, order, `200 <html>not JSON`)
	fault(Fault{Kind: Lie}, order, `202 {"request_id":"ID","chunks":2,"status":"submitted"}`,
		`GET /cache/prefetches/00000000000000000000000000000001`, `200 {"request_id":"ID","status":"completed","found_keys":4,"total_keys":4}`)
	if memory, _ := n.Held("m", "", eight()); memory != 0 {
		t.Error("the staging that was only reported was done")
	}
	fault(Fault{Kind: Forever}, order, `202 {"request_id":"ID","chunks":2,"status":"submitted"}`,
		`GET /cache/prefetches/00000000000000000000000000000002`, `200 {"request_id":"ID","status":"pending"}`)
	fault(Fault{Kind: Miscount}, `POST /cache/prefetches {"model_name":"m","world_size":2,"token_ids":[9,9,9,9]}`, `202 {"request_id":"ID","chunks":1,"status":"submitted"}`,
		`GET /cache/prefetches/00000000000000000000000000000003`, `200 {"request_id":"ID","status":"completed","found_keys":5,"total_keys":2}`)
	n.Fault(Fault{Kind: Huge, Bytes: 3 << 20})
	if got := ask(t, "GET", n.URL()+"/status", ""); len(got) < 3<<20 {
		t.Errorf("a huge answer of %d bytes", len(got))
	}
	n.Heal()
	before := time.Now()
	fault(Fault{Kind: Delay, Delay: 50 * ms}, `GET /healthcheck`, `200 {"status":"healthy"}`)
	if time.Since(before) < 50*ms {
		t.Error("the answer was not delayed")
	}
	n.Fault(Fault{Kind: Hang})
	hung := make(chan string)
	go func() { hung <- ask(t, "GET", n.URL()+"/healthcheck", "") }()
	select {
	case got := <-hung:
		t.Errorf("answered %s", got)
	case <-time.After(50 * ms):
	}
	n.Heal()
	if got := <-hung; got != `200 {"status":"healthy"}` {
		t.Error(got)
	}
	if list := n.Received(); len(list) == 0 || list[0].Path != "/cache/prefetches" || !strings.HasPrefix(string(list[0].Body), `{"model_name"`) {
		t.Errorf("%d requests were recorded", len(list))
	}
}
