// SPDX-License-Identifier: Apache-2.0

import { createAnthropic } from '@ai-sdk/anthropic';
import { createOpenAI } from '@ai-sdk/openai';
import { embedMany, generateText, isStepCount, Output, streamText, tool as define } from 'ai';

import { answerOf, collect, leave, model, tool, weather } from './tool.mjs';

const openai = (url) => createOpenAI({ baseURL: url + '/v1', apiKey: 'none' });
const anthropic = (url) => createAnthropic({ baseURL: url + '/v1', apiKey: 'none' });

// failing throws the first error of a stream, as an application learns of it: by onError.
async function failing(settings, use) {
  let failure;
  const { textStream } = streamText({ ...settings, onError: ({ error }) => (failure ??= error) });
  let result;
  try {
    result = await use(textStream);
  } catch (e) {
    throw failure ?? e;
  }
  if (failure) throw failure;
  return result;
}

// acts are the same for each API.
function acts(connect) {
  const asked = (url, ask) => ({ model: connect(url), prompt: ask, maxOutputTokens: 200, maxRetries: 0 });
  const tools = (keep) => ({
    tools: { [tool.name]: define({ description: tool.description, inputSchema: tool.schema, execute: async (args) => answerOf(keep(args)) }) },
    stopWhen: isStepCount(3),
  });
  return {
    async text(url, ask) {
      const a = await generateText(asked(url, ask));
      return { text: a.text, cached: a.usage.inputTokenDetails?.cacheReadTokens ?? a.usage.cachedInputTokens };
    },
    stream: (url, ask) => failing(asked(url, ask), collect),
    async tool(url, ask) {
      let got;
      const { text } = await generateText({ ...asked(url, ask), ...tools((args) => (got = args)) });
      return { arguments: got, text };
    },
    async streamedTool(url, ask) {
      let got;
      const { text } = await failing({ ...asked(url, ask), ...tools((args) => (got = args)) }, collect);
      return { arguments: got, text };
    },
    async object(url, ask) {
      const { output } = await generateText({ ...asked(url, ask), output: Output.object({ schema: weather }) });
      return { object: output };
    },
    async abort(url, ask) {
      const abort = new AbortController();
      return failing({ ...asked(url, ask), abortSignal: abort.signal }, (pieces) => leave(abort, pieces));
    },
  };
}

const others = {
  async embed(url, ask) {
    const { embeddings } = await embedMany({ model: openai(url).embedding(model), values: [ask, 'other'], maxRetries: 0 });
    return { vectors: embeddings };
  },
};

export const clients = {
  'ai chat': acts((url) => openai(url).chat(model)),
  'ai responses': acts((url) => openai(url).responses(model)),
  'ai messages': acts((url) => anthropic(url)(model)),
  ai: others,
};
