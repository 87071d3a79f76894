# SPDX-License-Identifier: Apache-2.0
"""A subscriber as Python programs write one for vLLM: the real libzmq and the
real msgpack. Commands come as JSON lines, an answer goes back for each."""

import json
import sys

import msgpack
import zmq

context = zmq.Context()
LIMIT = 60000  # ms


def socket(kind):
    s = context.socket(kind)
    s.setsockopt(zmq.RCVTIMEO, LIMIT)
    s.setsockopt(zmq.LINGER, 0)
    # A peer that does not answer PING within this loses its connection.
    s.setsockopt(zmq.HEARTBEAT_IVL, 50)
    s.setsockopt(zmq.HEARTBEAT_TIMEOUT, 3000)
    return s


def shape(parts):
    """A message of the stream or of a replay, with what it says."""
    payload = msgpack.unpackb(parts[-1], strict_map_key=False) if parts[-1] else None
    kinds = []
    for event in payload[1] if payload else []:
        kinds.append(event["type"] if isinstance(event, dict) else event[0])
    return {
        "parts": len(parts),
        "topic": parts[0].decode(),
        "sequence": int.from_bytes(parts[-2], "big"),
        "rank": payload[2] if payload else -1,
        "kinds": kinds,
        "digest": payload and json.dumps(payload[1], sort_keys=True, default=lambda b: b.hex()),
    }


def replay(address, first):
    s = socket(zmq.DEALER)
    s.connect("tcp://" + address)
    s.send_multipart([b"", first.to_bytes(8, "big")])
    messages = []
    while True:
        parts = s.recv_multipart()
        if b"\xff" * 8 in parts:
            break
        messages.append(shape(parts))
    s.close()
    return messages


def main():
    sub = socket(zmq.SUB)
    for line in sys.stdin:
        command = json.loads(line)
        answer = None
        if "connect" in command:
            sub.subscribe(command["topic"])
            sub.connect("tcp://" + command["connect"])
        elif "bind" in command:
            sub.subscribe(command["topic"])
            port = sub.bind_to_random_port("tcp://127.0.0.1")
            answer = "127.0.0.1:%d" % port
        elif "poll" in command:
            # libzmq sends subscriptions to who connects when it is called next.
            sub.poll(command["poll"])
        elif "receive" in command:
            answer = [shape(sub.recv_multipart()) for _ in range(command["receive"])]
        elif "replay" in command:
            answer = replay(command["replay"], command["first"])
        elif "unsubscribe" in command:
            sub.unsubscribe(command["unsubscribe"])
        print(json.dumps(answer), flush=True)


main()
