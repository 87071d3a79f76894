# SPDX-License-Identifier: Apache-2.0

"""Runs llama.cpp's own server, which the package xllamacpp has as a library, until
the standard input ends. Prints the URL once the model is loaded."""

import json
import sys

settings = json.loads(sys.argv[1])
sys.path.insert(0, settings["packages"])

import xllamacpp

params = xllamacpp.CommonParams()
params.model.path = settings["model"]
params.model_alias = {settings["name"]}
params.port = settings["port"]
params.n_parallel = settings["slots"]
params.n_ctx = settings["slots"] * settings["context"]
params.endpoint_metrics = True
# For requests without a limit: the model never ends an answer by itself.
params.n_predict = 100
params.embedding = True
params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
# One core each, as several run beside each other.
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
params.n_threads_http = 8

server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
