// SPDX-License-Identifier: Apache-2.0

package janitor

import (
	"net/http"
	"path"
	"strings"

	"github.com/bauxite/caddy-kvaware/internal/prompt"
)

// managed tells which requests to a path manage an engine.
type managed uint8

const (
	// managedAll is all requests: those with GET act too, or tell what clients
	// must not know.
	managedAll managed = iota + 1
	// managedWrites is all but GET, HEAD and OPTIONS.
	managedWrites
)

// managementPaths has the last element, or the last two, of the paths by which
// operators manage their engines. A prefix before it makes no difference.
var managementPaths = map[string]managed{
	// vLLM. Most of them exist in its development mode only; the adapters and the
	// profiler have switches of their own.
	"abort_requests":              managedAll,
	"collective_rpc":              managedAll,
	"finish_weight_update":        managedAll,
	"init_weight_transfer_engine": managedAll,
	"load_lora_adapter":           managedAll, // also SGLang, as more below
	"pause":                       managedAll,
	"reset_encoder_cache":         managedAll,
	"reset_mm_cache":              managedAll,
	"reset_prefix_cache":          managedAll,
	"resume":                      managedAll,
	"scale_elastic_ep":            managedAll,
	"server_info":                 managedAll, // the engine's whole configuration
	"sleep":                       managedAll,
	"start_draft_weight_update":   managedAll,
	"start_profile":               managedAll,
	"start_weight_update":         managedAll,
	"stop_profile":                managedAll,
	"unload_lora_adapter":         managedAll,
	"update_weight_version":       managedAll,
	"update_weights":              managedAll,
	"wake_up":                     managedAll,
	"weight_checker":              managedAll,

	// SGLang. Many of them act on a GET, and only some ask for an admin key, if
	// there is one.
	"abort_request":                               managedAll,
	"add_external_corpus":                         managedAll,
	"clear_hicache_storage_backend":               managedAll,
	"close_session":                               managedAll,
	"configure_logging":                           managedAll,
	"continue_generation":                         managedAll,
	"destroy_weights_update_group":                managedAll,
	"dump_expert_distribution_record":             managedAll,
	"flush_cache":                                 managedAll,
	"freeze_gc":                                   managedAll,
	"get_internal_state":                          managedAll,
	"get_remote_instance_transfer_engine_info":    managedAll,
	"get_server_info":                             managedAll,
	"get_weights_by_name":                         managedAll,
	"init_weights_send_group_for_remote_instance": managedAll,
	"init_weights_update_group":                   managedAll,
	"list_external_corpora":                       managedAll,
	"load_lora_adapter_from_tensors":              managedAll,
	"open_session":                                managedAll,
	"pause_generation":                            managedAll,
	"release_memory_occupation":                   managedAll,
	"remote_instance_transfer_engine_info":        managedAll,
	"remove_external_corpus":                      managedAll,
	"resume_memory_occupation":                    managedAll,
	"send_weights_to_remote_instance":             managedAll,
	"set_internal_state":                          managedAll,
	"set_trace_level":                             managedAll,
	"slow_down":                                   managedAll,
	"start_expert_distribution_record":            managedAll,
	"stop_expert_distribution_record":             managedAll,
	"update_weights_from_disk":                    managedAll,
	"update_weights_from_distributed":             managedAll,
	"update_weights_from_ipc":                     managedAll,
	"update_weights_from_tensor":                  managedAll,
	"weights_checker":                             managedAll,

	// llama.cpp: the adapters and settings of all requests, and its router's
	// models.
	"lora-adapters": managedWrites,
	"models/load":   managedAll,
	"models/unload": managedAll,
	"props":         managedWrites,

	// Ollama: its models.
	"api/copy":   managedAll,
	"api/create": managedAll,
	"api/delete": managedAll,
	"api/pull":   managedAll,
	"api/push":   managedAll,

	// TensorRT-LLM: a reader takes the events away from the others.
	"kv_cache_events": managedAll,
}

// managementTrees has elements of paths below which all is management.
var managementTrees = map[string]bool{
	"fault_tolerance": true, // vLLM
	"hicache":         true, // SGLang: the storage behind its cache
	"slots":           true, // llama.cpp: every slot's prompt and cache
}

// isManagement reports whether a request is for the operator of an engine.
func isManagement(method, urlPath string) bool {
	if strings.Contains(urlPath, "/.") || strings.Contains(urlPath, "//") {
		urlPath = path.Clean(urlPath) // proxies and engines may do the same
	}
	// Engines redirect from a path with a slash at the end. In a route of
	// Starlette, which vLLM and SGLang use, a final line feed makes no difference.
	rest := strings.TrimRight(urlPath, "/\n")
	last := rest[strings.LastIndexByte(rest, '/')+1:]
	kind := managementPaths[last]
	if kind == 0 {
		parent := rest[:len(rest)-len(last)]
		parent = parent[strings.LastIndexByte(strings.TrimRight(parent, "/"), '/')+1:]
		kind = managementPaths[rest[len(rest)-len(parent)-len(last):]]
	}
	if kind == managedAll || kind == managedWrites && !isSafe(method) {
		return true
	}
	for element := range strings.SplitSeq(rest, "/") {
		if managementTrees[element] {
			return true
		}
	}
	return false
}

// isSafe reports whether a method asks for nothing to be changed (RFC 9110 section
// 9.2.1). Engines do not know TRACE.
func isSafe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// The refusals of requests to an engine that are no requests to a model.
var (
	refuseManagement = &refusal{status: http.StatusForbidden, reason: "management",
		message: "this gateway does not forward requests that manage an engine"}
	refuseNoBody = &refusal{status: http.StatusBadRequest, reason: "no_body",
		message: "the request has no body"}
	refuseMethod = &refusal{status: http.StatusMethodNotAllowed, reason: "method", allow: "GET, HEAD, OPTIONS",
		message: "this gateway forwards a request without a body only to read something"}
)

// bodyless returns the refusal of a request without a body, nil if it may pass:
// it only reads, or cancels or deletes a response. Whatever else an engine does
// without being told more is management.
func (h *Handler) bodyless(r *http.Request, api prompt.API) *refusal {
	switch {
	case isSafe(r.Method) || h.steering.management == membersPass || prompt.EndsResponse(r.Method, r.URL.Path):
		return nil
	case !api.Dialect().AnyJSON:
		return refuseNoBody
	}
	return refuseMethod
}
