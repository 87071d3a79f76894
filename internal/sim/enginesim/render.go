// SPDX-License-Identifier: Apache-2.0

package enginesim

import (
	"net/http"
	"strconv"
	"strings"
)

// render returns the tokens that the engine would compute for a request: the
// token-in request of vLLM's render endpoints. Completions are a list with one object
// per prompt, anything else is one object.
func (c *call) render(api API) {
	if !c.engine.cfg.ScaleOut {
		c.fail(errScaleOut)
		return
	}
	w, tokens, _, limit, failure := c.readPrompts(api)
	switch {
	case failure != nil:
		c.fail(failure)
		return
	case w.PreviousResponseID != "":
		c.fail(errRenderStored)
		return
	}
	x := c.exchange(api, w)
	if api != Completions {
		c.json(http.StatusOK, w.rendered(chatPrefix+x.id, x.model, tokens[0], limit))
		return
	}
	list := make([]object, 0, len(tokens))
	for i := range tokens {
		list = append(list, w.rendered(completionsPrefix+x.id+"-"+strconv.Itoa(i), x.model, tokens[i], limit))
	}
	c.json(http.StatusOK, list)
}

var (
	errScaleOut     = &apiError{http.StatusForbidden, "PermissionDeniedError", "Scale-out endpoints are disabled. Restart vllm serve with --enable-scale-out to enable them."}
	errRenderStored = &apiError{http.StatusBadRequest, "invalid_request_error", "previous_response_id is not supported by the stateless render endpoint."}
)

func (w *apiRequest) rendered(id, model string, tokens []uint32, limit int) object {
	return object{
		"request_id": id, "token_ids": tokens, "features": imageFeatures(tokens),
		"sampling_params": object{"n": 1, "max_tokens": limit, "ignore_eos": w.IgnoreEOS},
		"model":           model, "stream": w.Stream, "stream_options": w.StreamOptions, "cache_salt": w.CacheSalt,
		"priority": 0, "kv_transfer_params": nil,
	}
}

// imageFeatures returns the places of images among the tokens, nil without images.
func imageFeatures(tokens []uint32) any {
	var hashes []string
	var places []object
	for i, t := range tokens {
		if t == tokenImage && i+imageTokens < len(tokens) {
			first := tokens[i+1]
			hashes = append(hashes, strconv.FormatUint(mix(uint64(first), 0), 16))
			places = append(places, object{"offset": i + 1, "length": imageTokens})
		}
	}
	if places == nil {
		return nil
	}
	return object{
		"mm_hashes": object{"image": hashes}, "mm_placeholders": object{"image": places}, "kwargs_data": nil,
	}
}

// SetTemplateDate sets the date that the chat template writes in front of every
// conversation, as some models' templates write today's. Empty: none.
func (e *Engine) SetTemplateDate(date string) {
	date = strings.ToValidUTF8(date, "\uFFFD")
	e.date.Store(&date)
}

func (e *Engine) templateDate() string { return *e.date.Load() }
