# SPDX-License-Identifier: Apache-2.0
"""Asks one engine or gateway through the official SDKs, and prints the answers.

clients.py URL generate|embed prints a JSON object from the name of each case to
its answer, without what differs between two answers to one question: IDs, times
and how much was cached. The suite runs it against an engine and against the
gateway in front of it, and compares.
"""
import json
import sys

import anthropic
import openai

URL, KIND = sys.argv[1], sys.argv[2]
OPENAI = openai.OpenAI(base_url=URL + "/v1", api_key="none", max_retries=0, timeout=120)
ANTHROPIC = anthropic.Anthropic(base_url=URL, api_key="none", max_retries=0, timeout=120)

# Longer than some blocks of the KV cache, and scrubbed nowhere.
TEXT = "A function opens a file, reads its lines and returns how many there are. " * 12
CITY = {"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"], "additionalProperties": False}
FUNCTION = {"type": "function", "function": {"name": "weather", "description": "The weather of a city.", "parameters": CITY}}
FORMAT = {"name": "city", "schema": CITY, "strict": True}
CHAT = dict(model="tiny", temperature=0, max_tokens=12)
USER = [{"role": "user", "content": TEXT}]
CALLED = USER + [
    {"role": "assistant", "content": None, "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}]},
    {"role": "tool", "tool_call_id": "call_1", "content": "Sunny."},
]
VOLATILE = {
    "id", "created", "created_at", "completed_at", "system_fingerprint", "item_id", "call_id", "prompt_tokens_details", "input_tokens_details",
    "cache_read_input_tokens", "cache_creation_input_tokens", "input_tokens", "metrics", "kv_transfer_params", "prompt_token_ids",
}


def plain(value):
    """Drops what differs between two answers to one question."""
    if hasattr(value, "model_dump"):
        value = value.model_dump()
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k not in VOLATILE}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value


def chat(**more):
    return OPENAI.chat.completions.create(**{**CHAT, "messages": USER, **more})


def chat_stream(**more):
    text, reasons, calls, usage = "", [], "", None
    for chunk in chat(stream=True, stream_options={"include_usage": True}, **more):
        for choice in chunk.choices:
            text += choice.delta.content or ""
            reasons += [choice.finish_reason] if choice.finish_reason else []
            for call in choice.delta.tool_calls or []:
                calls += (call.function.name or "") + (call.function.arguments or "")
        usage = chunk.usage or usage
    return {"text": text, "reasons": reasons, "calls": calls, "tokens": [usage.prompt_tokens, usage.completion_tokens]}


def completions(**more):
    return OPENAI.completions.create(**{**CHAT, "prompt": TEXT, **more})


def completions_stream():
    return "".join(choice.text for chunk in completions(stream=True) for choice in chunk.choices)


def responses(**more):
    return OPENAI.responses.create(**{"model": "tiny", "temperature": 0, "max_output_tokens": 12, "input": TEXT, **more})


def responses_stream():
    text, kinds = "", []
    for event in responses(stream=True):
        text += getattr(event, "delta", None) or ""
        kinds += [event.type] if event.type not in kinds else []  # engines join tokens that come together
    return [kinds, text]


# The SDK has no parameter for the temperature.
MESSAGES = dict(model="tiny", max_tokens=12, extra_body={"temperature": 0}, messages=USER, system="Be brief.")


def messages(**more):
    return ANTHROPIC.messages.create(**{**MESSAGES, **more})


def messages_stream():
    with ANTHROPIC.messages.stream(**MESSAGES) as stream:
        return ["".join(stream.text_stream), stream.get_final_message().stop_reason]


def refused(call):
    """Returns the SDK's own type of an error, with the status."""
    try:
        call()
    except (openai.APIStatusError, anthropic.APIStatusError) as e:
        return [type(e).__module__.split(".")[0], type(e).__name__, e.status_code]
    return "not refused"


RESPONSES_TOOL = {"type": "function", **FUNCTION["function"]}
MESSAGES_TOOL = {"name": "weather", "description": "The weather of a city.", "input_schema": CITY}
GENERATE = {
    "OpenAI models": lambda: sorted(m.id for m in OPENAI.models.list()),
    "OpenAI chat": chat,
    "OpenAI chat, again": chat,
    "OpenAI chat, streamed": chat_stream,
    "OpenAI chat, two answers": lambda: chat(n=2, temperature=0.7, seed=7),
    "OpenAI chat, logprobs": lambda: [t.token for t in chat(logprobs=True, top_logprobs=2).choices[0].logprobs.content],
    "OpenAI chat, tools that are not called": lambda: chat(tools=[FUNCTION], tool_choice="none"),
    "OpenAI chat, a tool called": lambda: chat(tools=[FUNCTION], tool_choice={"type": "function", "function": {"name": "weather"}}, max_tokens=40),
    "OpenAI chat, a tool called, streamed": lambda: chat_stream(tools=[FUNCTION], tool_choice={"type": "function", "function": {"name": "weather"}}, max_tokens=40),
    "OpenAI chat, a tool's result": lambda: chat(messages=CALLED, tools=[FUNCTION]),
    "OpenAI chat, a JSON schema": lambda: chat(response_format={"type": "json_schema", "json_schema": FORMAT}, max_tokens=40),
    "OpenAI completions": completions,
    "OpenAI completions, streamed": completions_stream,
    "OpenAI completions, two prompts": lambda: completions(prompt=[TEXT, "import os"]),
    "OpenAI responses": responses,
    "OpenAI responses, streamed": responses_stream,
    "OpenAI responses, instructions": lambda: responses(instructions="Be brief."),
    "OpenAI responses, tools": lambda: responses(tools=[RESPONSES_TOOL], tool_choice="none"),
    "OpenAI responses, a conversation": lambda: responses(input=[{"role": "user", "content": TEXT}, {"role": "assistant", "content": "Yes."}, {"role": "user", "content": "Why?"}]),
    "Anthropic messages": messages,
    "Anthropic messages, streamed": messages_stream,
    "Anthropic messages, a tool called": lambda: messages(tools=[MESSAGES_TOOL], tool_choice={"type": "tool", "name": "weather"}, max_tokens=40),
    "Anthropic messages, a conversation": lambda: messages(messages=USER + [{"role": "assistant", "content": "Yes."}, {"role": "user", "content": "Why?"}]),
    "Anthropic token count": lambda: ANTHROPIC.messages.count_tokens(model="tiny", messages=USER).input_tokens,
    "OpenAI error: no such model": lambda: refused(lambda: chat(model="nobody")),
    "OpenAI error: a bad member": lambda: refused(lambda: chat(temperature=-3)),
    "OpenAI error: a prompt that is too long": lambda: refused(lambda: completions(prompt="x y " * 20000)),
    "Anthropic error: no such model": lambda: refused(lambda: messages(model="nobody")),
}
EMBED = {
    "OpenAI embeddings": lambda: [e.embedding[:8] for e in OPENAI.embeddings.create(model="tiny", input=[TEXT, "import os"]).data],
}

answers = {}
for name, case in {"generate": GENERATE, "embed": EMBED}[KIND].items():
    try:
        answers[name] = plain(case())
    except Exception as e:  # an answer of its own kind: both sides must fail alike
        answers[name] = {"failed": type(e).__name__, "text": str(e)[:300]}
json.dump(answers, sys.stdout)
