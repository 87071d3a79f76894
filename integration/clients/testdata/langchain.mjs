// SPDX-License-Identifier: Apache-2.0

import { tool as define } from '@langchain/core/tools';
import { HumanMessage } from '@langchain/core/messages';
import { ChatOpenAI, OpenAIEmbeddings } from '@langchain/openai';

import { answerOf, collect, leave, model, tool, weather } from './tool.mjs';

const settings = (url) => ({ model, apiKey: 'none', maxRetries: 0, configuration: { baseURL: url + '/v1' } });

async function* texts(stream) {
  for await (const chunk of stream) yield chunk.text;
}

// acts are the same for each API.
function acts(connect) {
  return {
    async text(url, ask) {
      const a = await connect(url).invoke(ask);
      return { text: a.text, cached: a.usage_metadata.input_token_details.cache_read };
    },
    async stream(url, ask) {
      return collect(texts(await connect(url).stream(ask)));
    },
    async tool(url, ask) {
      let got;
      const lookUp = define(async (args) => answerOf((got = args)), { name: tool.name, description: tool.description, schema: tool.schema });
      const chat = connect(url).bindTools([lookUp]);
      const messages = [new HumanMessage(ask)];
      const first = await chat.invoke(messages);
      messages.push(first, await lookUp.invoke(first.tool_calls[0]));
      const { text } = await chat.invoke(messages);
      return { arguments: got, text };
    },
    async object(url, ask) {
      return { object: await connect(url).withStructuredOutput(weather, { name: 'weather', method: 'jsonSchema' }).invoke(ask) };
    },
    async abort(url, ask) {
      const abort = new AbortController();
      return leave(abort, texts(await connect(url).stream(ask, { signal: abort.signal })));
    },
  };
}

const others = {
  async embed(url, ask) {
    return { vectors: await new OpenAIEmbeddings(settings(url)).embedDocuments([ask, 'other']) };
  },
};

export const clients = {
  'langchain chat': acts((url) => new ChatOpenAI(settings(url))),
  'langchain responses': acts((url) => new ChatOpenAI({ ...settings(url), useResponsesApi: true })),
  langchain: others,
};
