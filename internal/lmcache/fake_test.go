// SPDX-License-Identifier: Apache-2.0

package lmcache

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// wire is a network with a script: it records requests and answers them.
type wire struct {
	mu      sync.Mutex
	sent    []string // "METHOD URL body"
	answers map[string]reply
}

type reply struct {
	status int
	body   string
	err    error
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		if int64(len(body)) != r.ContentLength || r.Header.Get("Content-Type") != "application/json" {
			return nil, errors.New("the body is not as announced")
		}
		again, _ := r.GetBody()
		if twice, err := io.ReadAll(again); err != nil || string(twice) != string(body) {
			return nil, errors.New("the body cannot be sent again")
		}
	}
	key := r.Method + " " + r.URL.String()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent = append(w.sent, strings.TrimSpace(key+" "+string(body)))
	a, ok := w.answers[key]
	if !ok {
		a = reply{status: 404, body: `{"detail":"Not Found"}`}
	}
	if a.err != nil {
		return nil, a.err
	}
	return &http.Response{StatusCode: a.status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(a.body))}, nil
}

// expect compares the requests since its last call.
func (w *wire) expect(t *testing.T, want ...string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	got := w.sent
	w.sent = nil
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("sent\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func mustURL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// count returns the tokens 0 to n-1.
func count(n int) []uint32 {
	tokens := make([]uint32, n)
	for i := range tokens {
		tokens[i] = uint32(i)
	}
	return tokens
}
