// SPDX-License-Identifier: Apache-2.0

// Reads jobs from the standard input and runs them with the official SDKs, all at once.
// A job and its result are a line of JSON each:
//
//   {"id": 1, "client": "openai chat", "act": "text", "url": "http://...", "ask": "..."}
//   {"id": 1, "result": {...}} or {"id": 1, "error": {...}}

import { createInterface } from 'node:readline';

import * as ai from './ai.mjs';
import * as anthropic from './anthropic.mjs';
import * as langchain from './langchain.mjs';
import * as openai from './openai.mjs';

const clients = { ...ai.clients, ...anthropic.clients, ...langchain.clients, ...openai.clients };

// describe returns what an application can tell of an error.
function describe(e) {
  const classes = [];
  for (let p = Object.getPrototypeOf(e); p && p !== Object.prototype; p = Object.getPrototypeOf(p)) {
    classes.push(p.constructor.name);
  }
  const { name, param, message, isRetryable: retryable } = e;
  const code = typeof e.code === 'string' ? e.code : undefined; // a DOMException has a number
  const type = e.type ?? e.data?.error?.type;
  const retryAfter = e.headers?.get?.('retry-after') ?? e.responseHeaders?.['retry-after'];
  return { classes, name, status: e.status ?? e.statusCode, type, code, param, message, retryable, retryAfter };
}

async function run({ id, client, act, url, ask }) {
  try {
    return { id, result: await clients[client][act](url, ask) };
  } catch (e) {
    return { id, error: e instanceof Error ? describe(e) : { classes: [], message: JSON.stringify(e) } };
  }
}

// The acts of each client, so that the test can run all of them.
console.log(JSON.stringify(Object.fromEntries(Object.entries(clients).map(([name, acts]) => [name, Object.keys(acts)]))));
for await (const line of createInterface({ input: process.stdin })) {
  run(JSON.parse(line)).then((answer) => console.log(JSON.stringify(answer)));
}
