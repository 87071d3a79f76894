// SPDX-License-Identifier: Apache-2.0

package prompt

// name is the number of a well-known member name of the APIs; zero is any other.
// Well-known names are compared by number, checked for duplicates by a bit, and
// not scanned for PII.
type name uint8

// The names that the package acts on. It only recognizes those of recognized.
const (
	nameNone name = iota
	nameAddGenerationPrompt
	nameAddSpecialTokens
	nameArguments
	nameAudio
	nameAudioEmbeds
	nameCacheControl
	nameCacheSalt
	nameCallID
	nameChatTemplate
	nameChatTemplateKwargs
	nameContent
	nameContinueFinalMessage
	nameConversation
	nameData
	nameData1
	nameData2
	nameDetail
	nameDocuments
	nameEcho
	nameEffort
	nameEncryptedContent
	nameFileData
	nameFileID
	nameFormat
	nameFunction
	nameFunctionCall
	nameFunctions
	nameID
	nameImageEmbeds
	nameIncludeUsage
	nameInput
	nameInputEmbeds
	nameInputIDs
	nameInputs
	nameInstructions
	nameItems
	nameLogprobs
	nameLoRAPath
	nameMediaIOKwargs
	nameMediaType
	nameMessages
	nameMMProcessorKwargs
	nameModel
	nameName
	nameObject
	nameOutput
	nameOutputConfig
	namePreviousResponseID
	namePriority
	namePrompt
	namePromptEmbeds
	namePromptLogprobs
	namePromptTokenIDs
	nameQueries
	nameQuery
	nameReasoning
	nameReasoningContent
	nameReasoningEffort
	nameRefusal
	nameResponseFormat
	nameRole
	nameSignature
	nameSource
	nameStatus
	nameStream
	nameStreamOptions
	nameSummary
	nameSystem
	nameTask
	nameText
	nameText1
	nameText2
	nameTexts
	nameThinking
	nameTokenIDs
	nameTokens
	nameToolCallID
	nameToolCalls
	nameToolChoice
	nameTools
	nameToolUseID
	nameTruncatePromptTokens
	nameType

	// The parts of a message's content that hold media.
	nameAudioURL
	nameImagePIL
	nameImageURL
	nameInputAudio
	nameVideoURL

	// The members below which engine members can be.
	nameParameters
	nameSamplingParams
	nameVLLMXArgs

	// The engine members.
	nameBootstrapHost
	nameBootstrapPairKey
	nameBootstrapPort
	nameBootstrapRoom
	nameCustomLogitProcessor
	nameDataParallelRank
	nameDecodeTPSize
	nameDisaggPrefillDPRank
	nameDisaggregatedParams
	nameECTransferParams
	nameEncoderURLs
	nameHTTPWorkerIPC
	nameKVCacheReportMode
	nameKVRouterHint
	nameKVTransferParams
	nameMMContentHashes
	nameMMHashes
	nameNeedWaitForMMInputs
	nameNumItemsAssigned
	nameRequestID
	nameRoutedDPRank
	nameSessionParams
	nameUUID
	numActedOn // the first number of recognized

	firstCarrier      = nameParameters
	firstEngineMember = nameBootstrapHost
)

// actedOn holds the spelling of the names above.
var actedOn = [numActedOn]string{
	nameAddGenerationPrompt: "add_generation_prompt", nameAddSpecialTokens: "add_special_tokens",
	nameArguments: "arguments", nameAudio: "audio", nameAudioEmbeds: "audio_embeds",
	nameCacheControl: "cache_control", nameCacheSalt: "cache_salt", nameCallID: "call_id",
	nameChatTemplate: "chat_template", nameChatTemplateKwargs: "chat_template_kwargs",
	nameContent: "content", nameContinueFinalMessage: "continue_final_message", nameConversation: "conversation", nameData: "data",
	nameData1: "data_1", nameData2: "data_2", nameDetail: "detail", nameDocuments: "documents", nameEcho: "echo",
	nameEffort: "effort", nameEncryptedContent: "encrypted_content", nameFileData: "file_data",
	nameFileID: "file_id", nameFormat: "format", nameFunction: "function",
	nameFunctionCall: "function_call", nameFunctions: "functions", nameID: "id",
	nameImageEmbeds: "image_embeds", nameIncludeUsage: "include_usage", nameInput: "input",
	nameInputEmbeds: "input_embeds", nameInputIDs: "input_ids", nameInputs: "inputs",
	nameInstructions: "instructions", nameItems: "items", nameLogprobs: "logprobs",
	nameLoRAPath: "lora_path", nameMediaIOKwargs: "media_io_kwargs", nameMediaType: "media_type",
	nameMessages: "messages", nameMMProcessorKwargs: "mm_processor_kwargs", nameModel: "model", nameName: "name", nameObject: "object",
	nameOutput: "output", nameOutputConfig: "output_config", namePreviousResponseID: "previous_response_id", namePriority: "priority", namePrompt: "prompt",
	namePromptEmbeds: "prompt_embeds", namePromptLogprobs: "prompt_logprobs", namePromptTokenIDs: "prompt_token_ids",
	nameQueries: "queries", nameQuery: "query", nameReasoning: "reasoning",
	nameReasoningContent: "reasoning_content", nameReasoningEffort: "reasoning_effort",
	nameRefusal: "refusal", nameResponseFormat: "response_format", nameRole: "role", nameSignature: "signature", nameSource: "source",
	nameStatus: "status", nameStream: "stream", nameStreamOptions: "stream_options",
	nameSummary: "summary", nameSystem: "system", nameTask: "task", nameText: "text", nameText1: "text_1",
	nameText2: "text_2", nameTexts: "texts", nameThinking: "thinking",
	nameTokenIDs: "token_ids", nameTokens: "tokens", nameToolCallID: "tool_call_id",
	nameToolCalls: "tool_calls", nameToolChoice: "tool_choice", nameTools: "tools", nameToolUseID: "tool_use_id",
	nameTruncatePromptTokens: "truncate_prompt_tokens", nameType: "type",

	nameAudioURL: "audio_url", nameImagePIL: "image_pil", nameImageURL: "image_url", nameInputAudio: "input_audio",
	nameVideoURL: "video_url", nameParameters: "parameters", nameSamplingParams: "sampling_params", nameVLLMXArgs: "vllm_xargs",

	nameBootstrapHost: "bootstrap_host", nameBootstrapPairKey: "bootstrap_pair_key", nameBootstrapPort: "bootstrap_port",
	nameBootstrapRoom: "bootstrap_room", nameCustomLogitProcessor: "custom_logit_processor",
	nameDataParallelRank: "data_parallel_rank", nameDecodeTPSize: "decode_tp_size",
	nameDisaggPrefillDPRank: "disagg_prefill_dp_rank", nameDisaggregatedParams: "disaggregated_params",
	nameECTransferParams: "ec_transfer_params", nameEncoderURLs: "encoder_urls", nameHTTPWorkerIPC: "http_worker_ipc",
	nameKVCacheReportMode: "kv_cache_report_mode", nameKVRouterHint: "kv_router_hint",
	nameKVTransferParams: "kv_transfer_params", nameMMContentHashes: "mm_content_hashes", nameMMHashes: "mm_hashes",
	nameNeedWaitForMMInputs: "need_wait_for_mm_inputs", nameNumItemsAssigned: "num_items_assigned",
	nameRequestID: "request_id", nameRoutedDPRank: "routed_dp_rank", nameSessionParams: "session_params", nameUUID: "uuid",
}

// recognized holds other member names of the APIs and of JSON Schema. They cannot
// be personal data.
var recognized = [...]string{
	"$defs", "$ref", "$schema", "additionalProperties", "allOf", "annotations", "anyOf", "best_of", "budget_tokens",
	"citations", "const", "context", "default", "delta", "description",
	"dimensions", "disable_parallel_tool_use", "document", "encoding_format", "enum",
	"ephemeral", "examples", "exclusiveMaximum", "exclusiveMinimum", "file", "file_url",
	"filename", "frequency_penalty", "guided_json", "ignore_eos", "image", "include",
	"include_reasoning", "include_stop_str_in_output", "index", "input_schema",
	"instruction", "is_error", "json_schema", "length_penalty", "logit_bias",
	"max_completion_tokens", "max_output_tokens", "max_tokens", "max_tool_calls", "maxItems",
	"maxLength", "maximum", "metadata", "min_p", "min_tokens", "minItems", "minLength", "minimum",
	"modalities", "n", "not", "oneOf", "parallel_tool_calls",
	"pattern", "prediction", "presence_penalty", "properties", "refs",
	"repetition_penalty", "required", "safety_identifier", "schema", "seed",
	"service_tier", "skip_special_tokens", "spaces_between_special_tokens", "stop",
	"stop_sequences", "stop_token_ids", "store", "strict", "suffix", "temperature", "title",
	"token_type", "top_k", "top_logprobs", "top_n", "top_p",
	"truncation", "ttl", "uniqueItems", "url", "use_beam_search", "user", "value", "verbosity",
	"prompt_cache_key",
}

const numNames = int(numActedOn) + len(recognized)

// nameSlots is a power of two several times numNames, so that probes are short.
const nameSlots = 1024

// nameTable is an open-addressed hash table of the names above.
var nameTable = func() (t [nameSlots]struct {
	text string
	name name
}) {
	put := func(s string, n name) {
		h := nameHash(s)
		for t[h].name != nameNone {
			h = (h + 1) % nameSlots
		}
		t[h].text, t[h].name = s, n
	}
	for n, s := range actedOn[1:] {
		put(s, name(n+1))
	}
	for n, s := range recognized {
		put(s, numActedOn+name(n))
	}
	return t
}()

// nameHash mixes length, first, middle and last byte, which tell the names apart.
// s must not be empty.
func nameHash[T string | []byte](s T) uint32 {
	n := len(s)
	h := uint32(s[0]) | uint32(s[n/2])<<8 | uint32(s[n-1])<<16 | uint32(n)<<24
	return h * 0x9E3779B1 >> 22
}

// longestName is the length of the longest name, or more.
const longestName = 32

// lookup returns the number of a decoded key, or nameNone.
func lookup(key []byte) name {
	if len(key) == 0 || len(key) > longestName {
		return nameNone
	}
	for h := nameHash(key); ; h = (h + 1) % nameSlots {
		s := &nameTable[h]
		if s.name == nameNone || string(key) == s.text {
			return s.name
		}
	}
}
