// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"fmt"
	"strings"
)

// Planted holds values that no output may ever show, by kind. They are put
// together at run time, so that no secret scanner trips on this file.
var Planted = map[string]string{
	"e-mail": "zaphod.planted@heartofgold-mail.com",
	"card":   "4532015" + "112830366",
	"IBAN":   "DE8937040" + "0440532013000",
	"SSN":    "536-" + "22-8726",
	"phone":  "+1 415-" + "555-2671",
	"IP":     "81.2." + "69.160",
	"token":  "gh" + "p_" + "wWPw5k4aXcaT4fNP0UcnZwJUVFk6LO0pINUx",
}

// PlainMarker stands in every planted prompt: no output may show a prompt's
// text either.
const PlainMarker = "xylophone-quagmire-7791"

// PlantedText returns a prompt with the marker and every planted value.
func PlantedText() string {
	var b strings.Builder
	b.WriteString(PlainMarker)
	for kind, value := range Planted {
		fmt.Fprintf(&b, " My %s is %s .", kind, value)
	}
	return b.String()
}

// PlantedBodies returns requests of every kind, good and broken, by name.
func PlantedBodies() map[string]string {
	text := PlantedText()
	quoted := strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%q", text), `"`), `"`)
	return map[string]string{
		"chat":           Chat(text, false),
		"stream":         Chat(text, true),
		"broken":         `{"model":"sim","messages":[{"role":"user","content":"` + quoted + `"}`,
		"number":         `{"model":"sim","messages":` + "4532015" + "112830366" + `}`,
		"wrong type":     `{"model":"sim","messages":"` + quoted + `"}`,
		"duplicate":      `{"model":"sim","messages":[],"messages":[{"role":"user","content":"` + quoted + `"}]}`,
		"trailing":       Chat(text, false) + quoted,
		"not json":       text,
		"model":          `{"model":"` + Planted["e-mail"] + `","messages":[{"role":"user","content":"hi"}]}`,
		"hidden":         `{"model":"sim","user":"` + Planted["e-mail"] + `","metadata":{"x":"` + Planted["card"] + `"},"messages":[{"role":"user","content":"hi"}]}`,
		"key":            `{"model":"sim","` + Planted["e-mail"] + `":1,"messages":[{"role":"user","content":"hi"}]}`,
		"tool arguments": `{"model":"sim","messages":[{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"to\":\"` + Planted["e-mail"] + `\"}"}}]},{"role":"tool","tool_call_id":"c1","content":"` + Planted["IBAN"] + `"}]}`,
		"escaped":        `{"model":"sim","messages":[{"role":"user","content":"zaphod.planted\u0040heartofgold-mail.com"}]}`,
		"invalid utf-8":  "{\"model\":\"sim\",\"messages\":[{\"role\":\"user\",\"content\":\"" + quoted + "\xff\"}]}",
		"deep":           `{"model":"sim","messages":` + strings.Repeat("[", 2000) + `"` + Planted["e-mail"] + `"` + strings.Repeat("]", 2000) + `}`,
		"lone surrogate": `{"model":"sim","messages":[{"role":"user","content":"` + Planted["e-mail"] + ` \ud800"}]}`,
		"token ids":      `{"model":"sim","prompt":[4532015,112830366]}`,
		"embeddings":     `{"model":"sim","input":["` + quoted + `","` + Planted["e-mail"] + `"]}`,
		"anthropic":      `{"model":"sim","max_tokens":8,"system":"` + quoted + `","messages":[{"role":"user","content":[{"type":"text","text":"` + quoted + `"}]}]}`,
		"other":          `{"anything":["` + quoted + `"]}`,
	}
}

// PlantedPaths lists the paths to which tests send the planted bodies.
var PlantedPaths = []string{
	"/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses", "/v1/embeddings", "/tokenize", "/anything",
}

// SendAll posts every body to every planted path and ignores the answers.
func SendAll(g *Gateway, bodies map[string]string) {
	for _, body := range bodies {
		for _, path := range PlantedPaths {
			resp, err := g.Client.Post(g.URL+path, "application/json", strings.NewReader(body))
			if err == nil {
				resp.Body.Close()
			}
		}
	}
}

// SecretMail is an address in prompts that must never reach an engine.
const SecretMail = "maria.planted@example-mail.com"
