// SPDX-License-Identifier: Apache-2.0

import Anthropic from '@anthropic-ai/sdk';
import { betaZodTool } from '@anthropic-ai/sdk/helpers/beta/zod';
import { zodOutputFormat } from '@anthropic-ai/sdk/helpers/zod';

import { answerOf, collect, leave, model, tool, weather } from './tool.mjs';

const connect = (url) => new Anthropic({ baseURL: url, apiKey: 'none', maxRetries: 0 });

const asked = (ask) => ({ model, max_tokens: 200, messages: [{ role: 'user', content: ask }] });

const textOf = (message) => message.content.map((block) => block.text ?? '').join('');

async function* deltas(stream) {
  for await (const event of stream) {
    if (event.type === 'content_block_delta') yield event.delta.text;
  }
}

async function runTool(url, ask, stream) {
  let got;
  const runner = connect(url).beta.messages.toolRunner({
    ...asked(ask),
    stream,
    tools: [betaZodTool({ name: tool.name, description: tool.description, inputSchema: tool.schema, run: (args) => answerOf((got = args)) })],
  });
  const last = await runner.runUntilDone();
  return { text: textOf(last), arguments: got };
}

const messages = {
  async text(url, ask) {
    const a = await connect(url).messages.create(asked(ask));
    return { text: textOf(a), cached: a.usage.cache_read_input_tokens };
  },
  async stream(url, ask) {
    return collect(deltas(await connect(url).messages.create({ ...asked(ask), stream: true })));
  },
  async collected(url, ask) {
    const a = await connect(url).messages.stream(asked(ask)).finalMessage();
    return { text: textOf(a), cached: a.usage.cache_read_input_tokens };
  },
  tool: (url, ask) => runTool(url, ask, false),
  streamedTool: (url, ask) => runTool(url, ask, true),
  async object(url, ask) {
    const a = await connect(url).messages.parse({ ...asked(ask), output_config: { format: zodOutputFormat(weather) } });
    return { object: a.parsed_output };
  },
  async abort(url, ask) {
    const abort = new AbortController();
    return leave(abort, deltas(await connect(url).messages.create({ ...asked(ask), stream: true }, { signal: abort.signal })));
  },
};

const others = {
  async count(url, ask) {
    const { model, messages } = asked(ask);
    const a = await connect(url).messages.countTokens({ model, messages });
    return { tokens: a.input_tokens };
  },
};

export const clients = { 'anthropic messages': messages, anthropic: others };
