# SPDX-License-Identifier: Apache-2.0
"""Publishes KV events the way vLLM and SGLang do, with the real libzmq.

Says where it listens in one line of JSON, then obeys one command of JSON a
line from standard input, each answered by a line. Ends with its input.
"""

import argparse
import collections
import json
import os
import sys

import msgpack
import zmq

END = (2**64 - 1).to_bytes(8, "big")


def unjson(value):
    """What JSON has no word for: {"bin": hex} are bytes."""
    if isinstance(value, dict):
        if set(value) == {"bin"}:
            return bytes.fromhex(value["bin"])
        return {k: unjson(v) for k, v in value.items()}
    if isinstance(value, list):
        return [unjson(v) for v in value]
    return value


class Publisher:
    def __init__(self, options):
        self.topic = options.topic.encode()
        self.topic_in_replay = options.topic_in_replay
        self.buffer = collections.deque(maxlen=options.buffer_steps)
        self.next = 0
        self.replays = 0
        context = zmq.Context()
        self.pub = context.socket(zmq.PUB)
        self.pub.set_hwm(100_000)
        if options.heartbeat:
            self.pub.setsockopt(zmq.HEARTBEAT_IVL, options.heartbeat)
            self.pub.setsockopt(zmq.HEARTBEAT_TIMEOUT, 10 * options.heartbeat)
        if options.plain:
            self.pub.plain_server = True
        where = {}
        if options.connect:
            self.pub.connect("tcp://" + options.connect)
        else:
            where["events"] = self.bind(self.pub, options.events)
        # vLLM leaves this one's high-water mark at the default of 1000, beyond
        # which libzmq drops without a word.
        self.router = context.socket(zmq.ROUTER)
        where["replay"] = self.bind(self.router, options.replay)
        self.say(where)

    @staticmethod
    def bind(socket, where):
        socket.bind("tcp://" + where)
        return socket.getsockopt(zmq.LAST_ENDPOINT).decode().rstrip("\0").removeprefix("tcp://")

    @staticmethod
    def say(what):
        print(json.dumps(what), flush=True)

    def publish(self, payload, lost=False):
        sequence = self.next.to_bytes(8, "big")
        self.buffer.append((self.next, payload))
        if not lost:  # as what is beyond a subscriber's high-water mark
            self.pub.send_multipart((self.topic, sequence, payload))
        self.next += 1

    def replay(self):
        frames = self.router.recv_multipart()
        if len(frames) != 3:
            return  # as vLLM: logged and not answered
        client, _, start = frames
        topic = (self.topic,) if self.topic_in_replay else ()
        self.replays += 1
        for sequence, payload in self.buffer:
            if sequence >= int.from_bytes(start, "big"):
                self.router.send_multipart((client, b"", *topic, sequence.to_bytes(8, "big"), payload))
        end = (b"", END, b"") if self.topic_in_replay else (END, b"")
        self.router.send_multipart((client, b"", *end))

    def obey(self, line):
        command = json.loads(line)
        if "batch" in command:  # one batch: [ts, events, rank]
            self.publish(msgpack.packb(unjson(command["batch"])))
        if "chain" in command:  # batches that store one block each, a child of the last
            self.chain(**command["chain"])
        if "bytes" in command:  # so many batches of a byte string of that size
            for _ in range(command.get("times", 1)):
                self.publish(msgpack.packb([1.5, [bytes([self.next % 256]) * command["bytes"]], 0]))
        if "clear" in command:  # forgets the history, as a small buffer does
            self.buffer.clear()
        self.say({"next": self.next, "replays": self.replays})

    def chain(self, times, tokens, array, first=0, lost=False):
        for _ in range(times):
            n = self.next
            parent = None if n == 0 else first + n - 1
            ids = [n * tokens + i for i in range(tokens)]
            if array:
                event = ["BlockStored", [first + n], parent, ids, tokens, None, "GPU"]
            else:
                event = {
                    "type": "BlockStored", "block_hashes": [first + n], "parent_block_hash": parent,
                    "token_ids": ids, "block_size": tokens, "lora_id": None, "medium": "GPU",
                    "lora_name": None, "extra_keys": [None], "group_idx": 0,
                    "kv_cache_spec_kind": "full_attention",
                }
            self.publish(msgpack.packb([1789095808.5, [event], 0]), lost)

    def run(self):
        poller = zmq.Poller()
        poller.register(0, zmq.POLLIN)
        poller.register(self.router, zmq.POLLIN)
        pending = b""
        while True:
            ready = dict(poller.poll())
            if self.router in ready:
                self.replay()
            if 0 in ready:
                chunk = os.read(0, 1 << 16)
                if not chunk:
                    os._exit(0)  # without libzmq's lingering
                *lines, pending = (pending + chunk).split(b"\n")
                for line in lines:
                    self.obey(line)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--topic", default="kv-events")
    options.add_argument("--topic-in-replay", action="store_true", help="as vLLM does from 0.26 on")
    options.add_argument("--buffer-steps", type=int, default=10_000)
    options.add_argument("--events", default="127.0.0.1:0", help="host:port of the PUB")
    options.add_argument("--replay", default="127.0.0.1:0", help="host:port of the ROUTER")
    options.add_argument("--connect", help="host:port to connect the PUB to, instead of binding")
    options.add_argument("--heartbeat", type=int, help="milliseconds between its own PINGs")
    options.add_argument("--plain", action="store_true", help="asks for user and password")
    Publisher(options.parse_args()).run()


if __name__ == "__main__":
    sys.exit(main())
