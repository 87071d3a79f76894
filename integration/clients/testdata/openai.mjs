// SPDX-License-Identifier: Apache-2.0

import OpenAI from 'openai';
import { zodFunction, zodResponseFormat, zodResponsesFunction, zodTextFormat } from 'openai/helpers/zod';

import { answerOf, collect, leave, model, tool, weather } from './tool.mjs';

const connect = (url) => new OpenAI({ baseURL: url + '/v1', apiKey: 'none', maxRetries: 0 });

const asked = (ask) => ({ model, messages: [{ role: 'user', content: ask }] });

async function* contents(stream) {
  for await (const chunk of stream) yield chunk.choices[0]?.delta?.content;
}

async function* outputs(stream) {
  for await (const event of stream) {
    if (event.type === 'response.output_text.delta') yield event.delta;
  }
}

// runTool lets the SDK call the tool.
async function runTool(url, ask, stream) {
  let got;
  const runner = connect(url).chat.completions.runTools({
    ...asked(ask),
    stream,
    tools: [zodFunction({ name: tool.name, description: tool.description, parameters: tool.schema, function: (args) => answerOf((got = args)) })],
  });
  return { text: await runner.finalContent(), arguments: got };
}

const chat = {
  async text(url, ask) {
    const a = await connect(url).chat.completions.create(asked(ask));
    return { text: a.choices[0].message.content, cached: a.usage.prompt_tokens_details.cached_tokens };
  },
  async stream(url, ask) {
    return collect(contents(await connect(url).chat.completions.create({ ...asked(ask), stream: true })));
  },
  // The SDK's own collector of streams, with usage.
  async collected(url, ask) {
    const stream = connect(url).chat.completions.stream({ ...asked(ask), stream_options: { include_usage: true } });
    const a = await stream.finalChatCompletion();
    return { text: a.choices[0].message.content, cached: a.usage.prompt_tokens_details.cached_tokens };
  },
  tool: (url, ask) => runTool(url, ask, false),
  streamedTool: (url, ask) => runTool(url, ask, true),
  async object(url, ask) {
    const a = await connect(url).chat.completions.parse({ ...asked(ask), response_format: zodResponseFormat(weather, 'weather') });
    return { object: a.choices[0].message.parsed };
  },
  async abort(url, ask) {
    const abort = new AbortController();
    return leave(abort, contents(await connect(url).chat.completions.create({ ...asked(ask), stream: true }, { signal: abort.signal })));
  },
};

const responses = {
  async text(url, ask) {
    const a = await connect(url).responses.create({ model, input: ask });
    return { text: a.output_text, cached: a.usage.input_tokens_details.cached_tokens };
  },
  async stream(url, ask) {
    return collect(outputs(await connect(url).responses.create({ model, input: ask, stream: true })));
  },
  async collected(url, ask) {
    const a = await connect(url).responses.stream({ model, input: ask }).finalResponse();
    return { text: a.output_text, cached: a.usage.input_tokens_details.cached_tokens };
  },
  // The second request refers to the first one's answer, which one engine keeps.
  async tool(url, ask) {
    const tools = [zodResponsesFunction({ name: tool.name, description: tool.description, parameters: tool.schema })];
    const first = await connect(url).responses.parse({ model, input: ask, tools });
    const call = first.output.find((o) => o.type === 'function_call');
    const last = await connect(url).responses.create({
      model,
      tools,
      previous_response_id: first.id,
      input: [{ type: 'function_call_output', call_id: call.call_id, output: answerOf(call.parsed_arguments) }],
    });
    return { arguments: call.parsed_arguments, text: last.output_text };
  },
  async object(url, ask) {
    const a = await connect(url).responses.parse({ model, input: ask, text: { format: zodTextFormat(weather, 'weather') } });
    return { object: a.output_parsed };
  },
  async abort(url, ask) {
    const abort = new AbortController();
    return leave(abort, outputs(await connect(url).responses.create({ model, input: ask, stream: true }, { signal: abort.signal })));
  },
  // A stored response is read.
  async stored(url, ask) {
    const client = connect(url);
    const { id } = await client.responses.create({ model, input: ask });
    const { output_text: text } = await client.responses.retrieve(id);
    return { text };
  },
};

const completions = {
  async text(url, ask) {
    const a = await connect(url).completions.create({ model, prompt: ask, max_tokens: 100 });
    return { text: a.choices[0].text, cached: a.usage.prompt_tokens_details.cached_tokens };
  },
  async stream(url, ask) {
    async function* texts(stream) {
      for await (const chunk of stream) yield chunk.choices[0]?.text;
    }
    return collect(texts(await connect(url).completions.create({ model, prompt: ask, max_tokens: 100, stream: true })));
  },
  // Token ids, which the gateway cannot read.
  async tokens(url) {
    await connect(url).completions.create({ model, prompt: [1, 2, 3], max_tokens: 100 });
  },
};

const others = {
  async embed(url, ask) {
    const a = await connect(url).embeddings.create({ model, input: [ask, 'other'] });
    return { vectors: a.data.map((d) => Array.from(d.embedding)) };
  },
  async models(url) {
    const all = [];
    for await (const m of connect(url).models.list()) all.push(m.id);
    return { models: all };
  },
  // As an application sets it up: with the SDK's retries.
  async retried(url, ask) {
    const a = await new OpenAI({ baseURL: url + '/v1', apiKey: 'none' }).chat.completions.create(asked(ask));
    return { text: a.choices[0].message.content };
  },
};

export const clients = { 'openai chat': chat, 'openai responses': responses, 'openai completions': completions, openai: others };
