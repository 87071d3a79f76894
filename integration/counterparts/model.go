// SPDX-License-Identifier: Apache-2.0

package counterparts

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
)

// The shape of the model: Llama's, and so small that one core reads thousands of
// tokens a second.
const (
	layers  = 2
	width   = 64
	heads   = 4
	inner   = 128
	longest = 16384 // context
)

// special are the tokens that no text contains.
var special = []string{"<|im_start|>", "<|im_end|>"}

// template renders a conversation as ChatML.
const template = `{%- for message in messages %}<|im_start|>{{ message.role }}
{{ message.content or '' }}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}`

// writeModel writes a model with random weights in llama.cpp's file format. Its
// answers are printable ASCII.
func writeModel(t testing.TB, path string) {
	t.Helper()
	f := &gguf{rnd: rand.New(rand.NewPCG(1, 2)), tokens: alphabet()}
	for _, pair := range train() {
		f.tokens = append(f.tokens, pair[0]+pair[1])
		f.merges = append(f.merges, pair[0]+" "+pair[1])
	}
	f.tokens = append(f.tokens, special...)
	f.metadata()
	f.tensors()
	if err := os.WriteFile(path, f.file(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// gguf collects the parts of a file in GGUF, version 3.
type gguf struct {
	rnd                   *rand.Rand
	tokens, merges        []string
	keys, infos, weights  bytes.Buffer
	keyCount, tensorCount uint64
}

// The types in GGUF, as far as they are used here.
const (
	typeUint32  = 4
	typeInt32   = 5
	typeFloat32 = 6
	typeBool    = 7
	typeString  = 8
	typeArray   = 9

	tensorF32 = 0
)

func (f *gguf) metadata() {
	f.key("general.architecture", "llama")
	f.key("general.name", "tiny")
	f.key("llama.context_length", uint32(longest))
	f.key("llama.embedding_length", uint32(width))
	f.key("llama.block_count", uint32(layers))
	f.key("llama.feed_forward_length", uint32(inner))
	f.key("llama.attention.head_count", uint32(heads))
	f.key("llama.attention.head_count_kv", uint32(heads))
	f.key("llama.attention.layer_norm_rms_epsilon", float32(1e-5))
	f.key("llama.rope.dimension_count", uint32(width/heads))
	f.key("llama.vocab_size", uint32(len(f.tokens)))

	const normal, control = 1, 3
	kinds := make([]int32, len(f.tokens))
	for i := range kinds {
		kinds[i] = normal
		if slices.Contains(special, f.tokens[i]) {
			kinds[i] = control
		}
	}
	end := uint32(len(f.tokens) - 1)
	f.key("tokenizer.ggml.model", "gpt2")
	f.key("tokenizer.ggml.pre", "gpt-2")
	f.key("tokenizer.ggml.tokens", f.tokens)
	f.key("tokenizer.ggml.token_type", kinds)
	f.key("tokenizer.ggml.merges", f.merges)
	f.key("tokenizer.ggml.eos_token_id", end)
	f.key("tokenizer.ggml.add_bos_token", false)
	f.key("tokenizer.chat_template", template)
}

func (f *gguf) tensors() {
	vocabulary := len(f.tokens)
	f.tensor("token_embd.weight", f.random(width*vocabulary), width, vocabulary)
	f.tensor("output_norm.weight", ones(width), width)
	f.tensor("output.weight", f.printable(), width, vocabulary)
	for i := range layers {
		name := "blk." + strconv.Itoa(i) + "."
		f.tensor(name+"attn_norm.weight", ones(width), width)
		f.tensor(name+"ffn_norm.weight", ones(width), width)
		for _, part := range []string{"attn_q", "attn_k", "attn_v", "attn_output"} {
			f.tensor(name+part+".weight", f.random(width*width), width, width)
		}
		f.tensor(name+"ffn_gate.weight", f.random(width*inner), width, inner)
		f.tensor(name+"ffn_up.weight", f.random(width*inner), width, inner)
		f.tensor(name+"ffn_down.weight", f.random(inner*width), inner, width)
	}
}

func (f *gguf) random(n int) []float32 {
	all := make([]float32, n)
	for i := range all {
		all[i] = float32(f.rnd.NormFloat64() / 8)
	}
	return all
}

func ones(n int) []float32 {
	all := make([]float32, n)
	for i := range all {
		all[i] = 1
	}
	return all
}

// printable returns weights of the output that give every token a logit of 0 but
// those of printable ASCII and of words, some of which have higher ones.
func (f *gguf) printable() []float32 {
	all := f.random(width * len(f.tokens))
	clear(all[:' '*width])
	clear(all[('~'+1)*width : 256*width])
	clear(all[(len(f.tokens)-len(special))*width:])
	return all
}

// key adds a key and its value.
func (f *gguf) key(name string, value any) {
	f.keyCount++
	text(&f.keys, name)
	switch v := value.(type) {
	case string:
		number(&f.keys, uint32(typeString))
		text(&f.keys, v)
	case uint32:
		number(&f.keys, uint32(typeUint32), v)
	case float32:
		number(&f.keys, uint32(typeFloat32), v)
	case bool:
		number(&f.keys, uint32(typeBool), v)
	case []string:
		number(&f.keys, uint32(typeArray), uint32(typeString), uint64(len(v)))
		for _, s := range v {
			text(&f.keys, s)
		}
	case []int32:
		number(&f.keys, uint32(typeArray), uint32(typeInt32), uint64(len(v)), v)
	}
}

// tensor adds a tensor, whose rows are shape[0] long.
func (f *gguf) tensor(name string, weights []float32, shape ...int) {
	f.tensorCount++
	text(&f.infos, name)
	number(&f.infos, uint32(len(shape)))
	for _, n := range shape {
		number(&f.infos, uint64(n))
	}
	number(&f.infos, uint32(tensorF32), uint64(f.weights.Len()))
	number(&f.weights, weights)
	pad(&f.weights)
}

func (f *gguf) file() []byte {
	var out bytes.Buffer
	out.WriteString("GGUF")
	number(&out, uint32(3), f.tensorCount, f.keyCount)
	out.Write(f.keys.Bytes())
	out.Write(f.infos.Bytes())
	pad(&out)
	out.Write(f.weights.Bytes())
	return out.Bytes()
}

func text(to *bytes.Buffer, s string) {
	number(to, uint64(len(s)))
	to.WriteString(s)
}

func number(to *bytes.Buffer, values ...any) {
	for _, v := range values {
		_ = binary.Write(to, binary.LittleEndian, v)
	}
}

// pad fills up to GGUF's default alignment.
func pad(to *bytes.Buffer) { to.Write(make([]byte, -to.Len()&31)) }
