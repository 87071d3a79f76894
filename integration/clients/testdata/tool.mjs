// SPDX-License-Identifier: Apache-2.0

// What the questions of all clients have in common.

import { z } from 'zod';

export const model = 'sim';

export const weather = z.object({ city: z.enum(['Rome', 'Oslo']), warm: z.boolean() });

export const tool = {
  name: 'look_up',
  description: 'Looks a person up',
  schema: z.object({ who: z.string() }),
};

// answerOf returns what the tool says of its arguments.
export const answerOf = ({ who }) => `THE TOOL SAYS ${who} is here`;

// collect reads a stream of pieces.
export async function collect(pieces) {
  const all = [];
  for await (const piece of pieces) {
    if (piece) all.push(piece);
  }
  return { pieces: all.length, text: all.join('') };
}

// leave reads a stream until its second piece, and then aborts it. What the client
// makes of it then is its own affair: some end the stream, some throw.
export async function leave(abort, pieces) {
  let n = 0;
  for await (const piece of pieces) {
    if (piece && ++n === 2) abort.abort();
  }
  return { pieces: n };
}
