// SPDX-License-Identifier: Apache-2.0

package enginesim

// responsesFormat is OpenAI's /v1/responses.
type responsesFormat struct {
	*exchange
	sequence int // number of the next event
}

type object map[string]any

func (f *responsesFormat) whole() any {
	status := "completed"
	if f.tasks[0].out.truncated {
		status = "incomplete"
	}
	o := f.response(status)
	f.keepAnswer(o)
	return o
}

func (f *responsesFormat) responseID() string { return "resp_" + f.id }

// response returns the response object; output and usage appear at its end.
func (f *responsesFormat) response(status string) object {
	o := object{
		"id": f.responseID(), "object": "response", "created_at": f.created, "status": status, "model": f.model,
		"error": nil, "incomplete_details": nil, "output": []any{}, "usage": nil,
		"parallel_tool_calls": true, "tool_choice": "auto", "tools": []any{}, "metadata": nil,
	}
	if status == "in_progress" {
		return o
	}
	if status == "incomplete" {
		o["incomplete_details"] = object{"reason": "max_output_tokens"}
	}
	t := f.tasks[0]
	items := []any{}
	for i := range t.out.parts {
		if t.out.parts[i].opened(len(t.out.tokens)) {
			items = append(items, f.item(t, i, true))
		}
	}
	u := f.total()
	details := object{"cached_tokens": u.cached}
	if f.hideCached {
		details["cached_tokens"] = 0 // the member is not optional there
	}
	o["output"] = items
	o["usage"] = object{
		"input_tokens": u.prompt, "input_tokens_details": details,
		"output_tokens": u.output, "output_tokens_details": object{"reasoning_tokens": 0},
		"total_tokens": u.prompt + u.output,
	}
	return o
}

// item returns an output item: a message or a function call, empty until it is
// complete.
func (f *responsesFormat) item(t *task, part int, complete bool) object {
	p := &t.out.parts[part]
	status, text := "in_progress", ""
	if complete {
		status, text = "completed", p.readable(len(t.out.tokens))
	}
	if p.call != nil {
		return object{
			"type": "function_call", "id": f.itemID(t, part), "status": status,
			"call_id": f.callID(t.out.callIndex(part)), "name": p.call.Name, "arguments": text,
		}
	}
	content := []any{}
	if complete {
		content = append(content, outputText(text))
	}
	return object{"type": "message", "id": f.itemID(t, part), "status": status, "role": "assistant", "content": content}
}

func outputText(text string) object {
	return object{"type": "output_text", "text": text, "annotations": []any{}, "logprobs": nil}
}

func (f *responsesFormat) itemID(t *task, part int) string {
	if t.out.parts[part].call != nil {
		return "fc_" + f.callID(t.out.callIndex(part))
	}
	return "msg_" + f.id
}

// event returns one numbered event.
func (f *responsesFormat) event(name string, members object) []byte {
	members["type"], members["sequence_number"] = name, f.sequence
	f.sequence++
	return namedEvent(name, members)
}

func namedEvent(name string, v any) []byte {
	return append(encode([]byte("event: "+name+"\ndata: "), v), "\n\n"...)
}

func (f *responsesFormat) begin(*task) []byte {
	return append(f.event("response.created", object{"response": f.response("in_progress")}),
		f.event("response.in_progress", object{"response": f.response("in_progress")})...)
}

func (f *responsesFormat) open(t *task, part int) []byte {
	dst := f.event("response.output_item.added", object{"output_index": part, "item": f.item(t, part, false)})
	if t.out.parts[part].call != nil {
		return dst
	}
	return append(dst, f.partEvent("response.content_part.added", t, part, object{"part": outputText("")})...)
}

// partEvent returns an event about a part of an item.
func (f *responsesFormat) partEvent(name string, t *task, part int, members object) []byte {
	members["item_id"], members["output_index"] = f.itemID(t, part), part
	if t.out.parts[part].call == nil {
		members["content_index"] = 0
	}
	return f.event(name, members)
}

func (f *responsesFormat) delta(t *task, part int, text string, _ bool) []byte {
	if t.out.parts[part].call != nil {
		return f.partEvent("response.function_call_arguments.delta", t, part, object{"delta": text})
	}
	return f.partEvent("response.output_text.delta", t, part, object{"delta": text, "logprobs": []any{}})
}

func (f *responsesFormat) close(t *task, part int) []byte {
	p := &t.out.parts[part]
	text := p.readable(len(t.out.tokens))
	var dst []byte
	if p.call != nil {
		dst = f.partEvent("response.function_call_arguments.done", t, part, object{"arguments": text, "name": p.call.Name})
	} else {
		dst = f.partEvent("response.output_text.done", t, part, object{"text": text, "logprobs": []any{}})
		dst = append(dst, f.partEvent("response.content_part.done", t, part, object{"part": outputText(text)})...)
	}
	return append(dst, f.event("response.output_item.done", object{"output_index": part, "item": f.item(t, part, true)})...)
}

func (f *responsesFormat) finish(t *task) []byte {
	if t.out.truncated {
		return f.event("response.incomplete", object{"response": f.whole()})
	}
	return f.event("response.completed", object{"response": f.whole()})
}

func (f *responsesFormat) end() []byte { return nil }

var _ format = (*responsesFormat)(nil)
