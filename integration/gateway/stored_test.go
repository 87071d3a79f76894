// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/bauxite/caddy-kvaware/integration/harness"
	"github.com/bauxite/caddy-kvaware/internal/sim/enginesim"
)

const responsesPath = "/v1/responses"

// storedSite is a site whose answers tell the upstream and the reason.
const storedSite = `:8080 {
	pii_janitor
	header >X-Upstream {http.reverse_proxy.upstream.hostport}
	header >X-Reason {http.kv_aware.reason}
	reverse_proxy %s {
		lb_policy kv_aware
		%s
	}
}`

func startStored(t *testing.T, n int, options string) (*harness.Gateway, []*enginesim.Engine) {
	engines := harness.StartEngines(t, n, enginesim.Config{Speed: 50, Record: 64, OutputTokens: 8})
	return harness.StartGateway(t, "caddyfile", fmt.Sprintf(storedSite, harness.Addresses(engines), options)), engines
}

// respond sends a Responses request and returns the answer and its ID.
func respond(t *testing.T, g *harness.Gateway, input, previous string, stream bool) (answer harness.Reply, id string) {
	t.Helper()
	body := map[string]any{"model": "sim", "input": input, "stream": stream}
	if previous != "" {
		body["previous_response_id"] = previous
	}
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	answer = g.Post(t, responsesPath, string(raw))
	if answer.Status == http.StatusOK {
		id = responseID(t, answer.Body, stream)
	}
	return answer, id
}

// responseID returns the ID in a whole answer, or in the first event of a stream.
func responseID(t *testing.T, body string, stream bool) string {
	t.Helper()
	var whole struct{ ID string }
	var event struct{ Response struct{ ID string } }
	var err error
	if stream {
		_, data, _ := strings.Cut(body, "data: ")
		data, _, _ = strings.Cut(data, "\n")
		err = json.Unmarshal([]byte(data), &event)
	} else {
		err = json.Unmarshal([]byte(body), &whole)
	}
	if id := whole.ID + event.Response.ID; err == nil && id != "" {
		return id
	}
	t.Fatalf("no response: %.300s", body)
	return ""
}

func send(t *testing.T, g *harness.Gateway, method, path string) harness.Reply {
	t.Helper()
	r, err := http.NewRequest(method, g.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return g.Do(t, r)
}

// Conversations that go on by ID alone stay at the engine that has them, with
// answers in one piece and streamed. So do requests about a response.
func TestStoredResponsesAreFound(t *testing.T) {
	g, engines := startStored(t, 4, "")
	const conversations = 30
	elsewhere, used := 0, make(map[string]bool)
	for i := range conversations {
		first, id := respond(t, g, harness.Story(fmt.Sprint("topic", i)), "", i%2 == 0)
		if first.Status != http.StatusOK {
			t.Fatalf("status %d: %.300s", first.Status, first.Body)
		}
		used[first.Header.Get("X-Upstream")] = true
		for turn := range 3 {
			next, nextID := respond(t, g, "And then?", id, (i+turn)%2 == 0)
			if next.Status != http.StatusOK {
				elsewhere++
				break
			}
			if reason := next.Header.Get("X-Reason"); reason != "state" {
				t.Errorf("the reason is %q", reason)
			}
			id = nextID
		}
		for _, c := range []struct{ method, below string }{{"GET", ""}, {"GET", "/input_items"}, {"POST", "/cancel"}, {"DELETE", ""}} {
			if answer := send(t, g, c.method, responsesPath+"/"+id+c.below); answer.Status != http.StatusOK {
				t.Errorf("conversation %d: %s %s: %d", i, c.method, c.below, answer.Status)
			}
		}
	}
	if elsewhere > 0 {
		t.Errorf("%d of %d conversations went to an engine that does not have them", elsewhere, conversations)
	}
	if len(used) < len(engines)/2 {
		t.Errorf("only %d engines were used", len(used))
	}
	if n := harness.Metric(t, "caddy_kv_aware_requests_total"); n < 4*conversations {
		t.Errorf("%v requests counted", n)
	}
}

// explain names the engine that has the stored response, and says why nothing is
// predicted for a prompt that the request does not show.
func TestExplainOfStoredResponses(t *testing.T) {
	g, _ := startStored(t, 3, "")
	first, id := respond(t, g, harness.Story("topic"), "", false)
	for _, c := range []struct{ path, body, upstream, reason, note string }{
		{responsesPath, `{"model":"sim","input":"And then?","previous_response_id":"` + id + `"}`, first.Header.Get("X-Upstream"), "state", "one engine has stored"},
		{responsesPath, `{"model":"sim","input":"And then?","previous_response_id":"resp_unknown"}`, "", "fallback", "one engine has stored"},
		{responsesPath, `{"model":"sim","input":"And then?","conversation":"conv_1"}`, "", "fallback", "one engine has stored"},
		{"/v1/embeddings", `{"model":"sim","input":"And then?"}`, "", "fallback", "no prompt of text"},
		{responsesPath, `{"model":"sim","input":"And then?"}`, "", "", ""},
	} {
		_, answer := harness.Admin(t, http.MethodPost, "/kv_aware/explain?path="+c.path, c.body)
		var e struct{ Upstream, Reason, Note string }
		if err := json.Unmarshal([]byte(answer), &e); err != nil {
			t.Fatal(err)
		}
		if c.reason == "" { // it is predicted like any other
			if e.Note != "" || e.Upstream == "" || e.Reason == "fallback" {
				t.Errorf("%s: %+v", c.body, e)
			}
			continue
		}
		if e.Upstream != c.upstream || e.Reason != c.reason || !strings.Contains(e.Note, c.note) || c.note == "" {
			t.Errorf("%s: %+v, want %s at %q, %q", c.body, e, c.reason, c.upstream, c.note)
		}
	}
}

// What is known of responses survives a reload.
func TestStoredResponsesSurviveAReload(t *testing.T) {
	g, engines := startStored(t, 4, "")
	ids := make([]string, 12)
	for i := range ids {
		_, ids[i] = respond(t, g, harness.Story(fmt.Sprint("topic", i)), "", false)
	}
	g.Reload(t, "caddyfile", fmt.Sprintf(storedSite, harness.Addresses(engines), "lb_retries 1"))
	for i, id := range ids {
		if answer := g.Get(t, responsesPath+"/"+id); answer.Status != http.StatusOK {
			t.Errorf("response %d: status %d", i, answer.Status)
		}
	}
}

// A wrong hint does not break serving: with the holder gone, the request goes to
// another engine, which says what is missing.
func TestHolderThatIsGone(t *testing.T) {
	g, engines := startStored(t, 2, "lb_retries 2\n lb_retry_match {\n method POST\n }\n fail_duration 1h")
	first, id := respond(t, g, "Remember this.", "", false)
	holder, other := engines[0], engines[1]
	if first.Header.Get("X-Upstream") == other.Addr() {
		holder, other = other, holder
	}
	if err := holder.Fault(enginesim.Fault{Kind: enginesim.Refuse}); err != nil {
		t.Fatal(err)
	}
	for attempt := range 2 { // first the holder fails, then it is known to be unhealthy
		answer, _ := respond(t, g, "And then?", id, false)
		if at := answer.Header.Get("X-Upstream"); answer.Status != http.StatusNotFound || at != other.Addr() {
			t.Errorf("attempt %d: status %d from %s, want the other engine's 404", attempt, answer.Status, at)
		}
	}
	if reply, _ := respond(t, g, "Something else.", "", false); reply.Status != http.StatusOK {
		t.Errorf("a request of its own: status %d", reply.Status)
	}
}

// A holder that is busy answers for itself: any other engine would say that the
// response does not exist.
func TestHolderThatIsBusy(t *testing.T) {
	g, engines := startStored(t, 3, "")
	first, id := respond(t, g, "Remember this.", "", false)
	for _, e := range engines {
		if e.Addr() != first.Header.Get("X-Upstream") {
			continue
		}
		if err := e.Fault(enginesim.Fault{Kind: enginesim.Status, Status: http.StatusServiceUnavailable, RetryAfter: "1", Count: 1}); err != nil {
			t.Fatal(err)
		}
	}
	busy, _ := respond(t, g, "And then?", id, false)
	if busy.Status != http.StatusServiceUnavailable || busy.Header.Get("Retry-After") != "1" {
		t.Errorf("status %d, Retry-After %q: %.200s", busy.Status, busy.Header.Get("Retry-After"), busy.Body)
	}
	if again, _ := respond(t, g, "And then?", id, false); again.Status != http.StatusOK {
		t.Errorf("after that: status %d", again.Status)
	}
}

// A response that another gateway has routed is looked for at the engines, and
// remembered once it is found.
func TestResponseOfAnotherGateway(t *testing.T) {
	g, engines := startStored(t, 3, "")
	for i, e := range engines {
		direct := &harness.Gateway{URL: e.URL(), Client: g.Client}
		_, id := respond(t, direct, fmt.Sprint("Remember this, ", i), "", false)
		time.Sleep(200 * time.Millisecond) // more than the least time between two searches
		if answer := g.Get(t, responsesPath+"/"+id); answer.Status != http.StatusOK || answer.Header.Get("X-Upstream") != e.Addr() {
			t.Errorf("status %d from %s", answer.Status, answer.Header.Get("X-Upstream"))
		}
		for range 5 {
			if answer, _ := respond(t, g, "And then?", id, false); answer.Status != http.StatusOK || answer.Header.Get("X-Reason") != "state" {
				t.Errorf("once it is found: status %d, reason %s", answer.Status, answer.Header.Get("X-Reason"))
			}
		}
	}
}

// A continued answer that ends before its time counts against the holder, as any
// other does.
func TestContinuedAnswerThatIsCut(t *testing.T) {
	engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		const created = `data: {"type":"response.created","response":{"id":"resp_1","object":"response"}}` + "\n\n"
		io.WriteString(w, created) // and no response.completed
	}))
	t.Cleanup(engine.Close)
	g := harness.StartGateway(t, "caddyfile", fmt.Sprintf(storedSite, engine.Listener.Addr(), ""))
	for i, c := range []struct{ previous, reason string }{{"null", "cold"}, {`"resp_1"`, "state"}} {
		answer, err := g.Client.Post(g.URL+responsesPath, "application/json",
			strings.NewReader(`{"model":"sim","input":"Go on.","stream":true,"previous_response_id":`+c.previous+`}`))
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, answer.Body) // ends early
		answer.Body.Close()
		if reason := answer.Header.Get("X-Reason"); reason != c.reason {
			t.Errorf("the reason is %q, want %q", reason, c.reason)
		}
		harness.Await(t, "the cut answer counts as a failure", func() bool {
			return harness.Metric(t, "caddy_kv_aware_failures_total") == float64(i+1)
		})
	}
}

// IDs that no engine has given are routed as usual.
func TestUnknownResponses(t *testing.T) {
	g, _ := startStored(t, 2, "")
	for _, id := range []string{"resp_unknown", strings.Repeat("r", 5000), "%00", "..%2f..", "a%22b"} {
		if answer := g.Get(t, responsesPath+"/"+id); answer.Status != http.StatusNotFound {
			t.Errorf("%.40s: status %d", id, answer.Status)
		}
		if answer, _ := respond(t, g, "x", id, false); answer.Status != http.StatusNotFound {
			t.Errorf("continuing %.40s: status %d", id, answer.Status)
		}
	}
}
