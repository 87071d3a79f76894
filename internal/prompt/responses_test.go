// SPDX-License-Identifier: Apache-2.0

package prompt

import (
	"strings"
	"testing"
)

func TestPreviousResponse(t *testing.T) {
	long := strings.Repeat("r", MaxResponseID)
	for _, c := range []struct {
		name, members string
		want          string
		continues     bool
	}{
		{"none", `"store":true`, "", false},
		{"null", `"previous_response_id":null`, "", false},
		{"one", `"previous_response_id":"resp_1"`, "resp_1", true},
		{"escaped", `"previous_response_id":"resp\u005f1"`, "resp_1", true},
		{"of another type", `"previous_response_id":7`, "", true},
		{"the longest", `"previous_response_id":"` + long + `"`, long, true},
		{"too long", `"previous_response_id":"` + long + `r"`, "", true},
		{"a conversation", `"conversation":"conv_1"`, "", true},
	} {
		var d Document
		if err := d.Parse(Responses, []byte(`{"input":"I","previous_response_id":"before"}`)); err != nil {
			t.Fatal(err)
		}
		if err := d.Parse(Responses, []byte(`{"input":"I",`+c.members+`}`)); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if d.PreviousResponse != c.want || d.Continues != c.continues {
			t.Errorf("%s: %q, continues %v", c.name, d.PreviousResponse, d.Continues)
		}
		if signed := len(d.Segments) > 0; signed == c.continues {
			t.Errorf("%s: signed %v", c.name, signed)
		}
	}
	var d Document
	if err := d.Parse(Chat, []byte(`{"messages":[],"previous_response_id":"resp_1"}`)); err == nil && d.PreviousResponse != "" {
		t.Error("a chat continues a response")
	}
}

func TestStoredResponse(t *testing.T) {
	long := strings.Repeat("r", MaxResponseID)
	for path, want := range map[string]string{
		"/v1/responses":                    "",
		"/v1/responses/":                   "",
		"/v1/responses/resp_1":             "resp_1",
		"/v1/responses/resp_1/":            "resp_1",
		"/v1/responses/resp_1/cancel":      "resp_1",
		"/v1/responses/resp_1/input_items": "resp_1",
		"/v1/responses/resp_1/a/b":         "",
		"/v1/responses/render":             "",
		"/llm/v1/responses/resp_1":         "resp_1",
		"/responses/resp_1":                "resp_1",
		"/a/responses/b/responses/resp_1":  "resp_1",
		"/v1/responses/" + long:            long,
		"/v1/responses/" + long + "r":      "",
		"/v1/chat/completions":             "",
		"":                                 "",
	} {
		if got := StoredResponse(path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}
