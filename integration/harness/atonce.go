// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"bytes"
	"io"
	"net/http"
)

// AnswerAtOnce is an engine without a model, for benchmarks: it reads a chat request
// that Chat has made and answers it, in so many pieces when it is to be streamed.
func AnswerAtOnce(pieces int) http.HandlerFunc {
	const usage = `"usage":{"prompt_tokens":4096,"completion_tokens":8,"total_tokens":4104,"prompt_tokens_details":{"cached_tokens":2048}}`
	const head = `{"id":"chatcmpl-1","created":1,"model":"sim",`
	const whole = head + `"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"All eight words of this answer are here."},"finish_reason":"stop"}],` + usage + `}`
	const piece = "data: " + head + `"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}` + "\n\n"
	const last = "data: " + head + `"object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],` + usage + "}\n\ndata: [DONE]\n\n"
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		switch {
		case err != nil: // the client has gone, as any error of writing means
		case r.Method == http.MethodGet:
			io.WriteString(w, `{"object":"list","data":[{"id":"sim","object":"model","created":1,"owned_by":"test"}]}`)
		case !bytes.HasSuffix(body, []byte(`"stream":true}`)):
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, whole)
		default:
			w.Header().Set("Content-Type", "text/event-stream")
			for range pieces {
				io.WriteString(w, piece)
				http.NewResponseController(w).Flush()
			}
			io.WriteString(w, last)
		}
	}
}
