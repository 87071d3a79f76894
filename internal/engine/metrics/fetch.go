// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"
)

const (
	fetchTimeout    = 3 * time.Second // to the last byte of the answer
	maxAnswerHeader = 64 << 10        // bytes

	modelsPath = "/v1/models"
)

// Errors of asking an engine. Their texts are fixed.
var (
	// ErrRefused: nothing listens at the address. The engine's process is gone.
	ErrRefused = errors.New("the connection was refused")
	// ErrUnreachable: no answer for any other reason.
	ErrUnreachable = errors.New("there was no answer")
	// ErrStatus: an answer with another status than 200.
	ErrStatus = errors.New("the answer was not 200 OK")

	errTruncated = errors.New("the answer broke off")
)

// NewTransport returns a transport with few connections, short timeouts and no
// proxy. It does not decompress answers.
func NewTransport() *http.Transport {
	return &http.Transport{
		DialContext:            (&net.Dialer{Timeout: fetchTimeout}).DialContext,
		TLSHandshakeTimeout:    fetchTimeout,
		ResponseHeaderTimeout:  fetchTimeout,
		MaxResponseHeaderBytes: maxAnswerHeader,
		MaxIdleConnsPerHost:    1,
		MaxConnsPerHost:        2,
		IdleConnTimeout:        30 * time.Second,
		DisableCompression:     true,
	}
}

// fetch asks an engine for a path and hands the body of a 200 to read. It follows
// no redirect: an engine must not send us elsewhere.
func fetch(ctx context.Context, t http.RoundTripper, address, path, accept string, read func(io.Reader) error) error {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	r := (&http.Request{
		Method:     http.MethodGet,
		URL:        &url.URL{Scheme: "http", Host: address, Path: path},
		Host:       address,
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
		Header:     http.Header{"Accept": {accept}, "User-Agent": {"caddy-kvaware"}},
	}).WithContext(ctx)
	answer, err := t.RoundTrip(r)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return ErrRefused
	case err != nil:
		return ErrUnreachable // the error may quote the answer
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return ErrStatus
	}
	return read(answer.Body)
}

func fetchMetrics(ctx context.Context, t http.RoundTripper, address, path string) (reading Reading, err error) {
	err = fetch(ctx, t, address, path, "text/plain;version=0.0.4", func(body io.Reader) (err error) {
		reading, err = ReadMetrics(body)
		return err
	})
	return reading, err
}

func fetchModels(ctx context.Context, t http.RoundTripper, address string) (models Models, err error) {
	err = fetch(ctx, t, address, modelsPath, "application/json", func(body io.Reader) (err error) {
		models, err = ReadModels(body)
		return err
	})
	return models, err
}
