# SPDX-License-Identifier: Apache-2.0
"""Makes the model that the real engines serve: a tiny Llama of random weights.

model.py FOLDER makes FOLDER/tiny and a LoRA adapter for it, FOLDER/adapter.
No hub is needed. The weights come from a fixed seed, so equal versions of the
libraries make equal models. The answers are gibberish, but at temperature 0
they depend on every token of the prompt, and that is what the suite compares.
"""
import json
import pathlib
import sys
import sysconfig

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

LAYERS, HIDDEN, HEADS, MLP, VOCABULARY = 2, 128, 4, 256, 8000
MAX_LENGTH = 8192
RANK = 4
MARKS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>"]

# Renders what engines' own templates render: the tools, the system prompt, the
# calls and results of tools, and each message between marks.
TEMPLATE = """\
{%- if tools %}<|im_start|>system
{%- if messages and messages[0].role == 'system' %}
{{ messages[0].content }}
{%- endif %}
Tools:
{%- for tool in tools %}
{{ tool | tojson }}
{%- endfor %}
Call one inside <tool_call></tool_call> as {"name": ..., "arguments": ...}.<|im_end|>
{% endif %}
{%- for message in messages %}
{%- if not (tools and loop.first and message.role == 'system') %}<|im_start|>{{ message.role }}
{{ message.content or '' }}
{%- for call in message.tool_calls or [] %}<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>
{%- endfor %}<|im_end|>
{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def tokenizer(folder):
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    library = pathlib.Path(sysconfig.get_path("stdlib"))
    tok.train_from_iterator(
        (file.read_text(errors="replace") for file in sorted(library.glob("*.py"))),
        trainers.BpeTrainer(
            vocab_size=VOCABULARY - len(MARKS) - 59,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tok.add_special_tokens(MARKS[:3])
    tok.add_tokens(MARKS[3:])
    tok.save(str(folder / "tokenizer.json"))
    write(folder / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>",
        "model_max_length": MAX_LENGTH, "clean_up_tokenization_spaces": False,
        "chat_template": TEMPLATE,
    })
    return tok.token_to_id("<|im_end|>")


def weights(folder, generator):
    def matrix(rows, columns, scale=1.0):
        return torch.randn(rows, columns, generator=generator) * scale / columns**0.5

    tensors = {
        "model.embed_tokens.weight": torch.randn(VOCABULARY, HIDDEN, generator=generator),
        "model.norm.weight": torch.ones(HIDDEN),
        # Logits far apart, so that no rounding changes which token is the first.
        "lm_head.weight": matrix(VOCABULARY, HIDDEN, 4.0),
    }
    for layer in range(LAYERS):
        name = f"model.layers.{layer}."
        for part in "qkvo":
            tensors[f"{name}self_attn.{part}_proj.weight"] = matrix(HIDDEN, HIDDEN, 2.0)
        tensors[name + "mlp.gate_proj.weight"] = matrix(MLP, HIDDEN)
        tensors[name + "mlp.up_proj.weight"] = matrix(MLP, HIDDEN)
        tensors[name + "mlp.down_proj.weight"] = matrix(HIDDEN, MLP)
        tensors[name + "input_layernorm.weight"] = torch.ones(HIDDEN)
        tensors[name + "post_attention_layernorm.weight"] = torch.ones(HIDDEN)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def adapter(folder, generator):
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for layer in range(LAYERS):
        for part in "qv":
            name = f"base_model.model.model.layers.{layer}.self_attn.{part}_proj."
            tensors[name + "lora_A.weight"] = torch.randn(RANK, HIDDEN, generator=generator)
            tensors[name + "lora_B.weight"] = torch.randn(HIDDEN, RANK, generator=generator) / 10
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    write(folder / "adapter_config.json", {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "tiny",
        "r": RANK, "lora_alpha": RANK, "lora_dropout": 0.0, "bias": "none",
        "target_modules": ["q_proj", "v_proj"],
    })


def write(path, value):
    path.write_text(json.dumps(value, indent=1))


def main(folder):
    model = folder / "tiny"
    model.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(20261201)
    end = tokenizer(model)
    weights(model, generator)
    adapter(folder / "adapter", generator)
    write(model / "generation_config.json", {"eos_token_id": end})
    write(model / "config.json", {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama",
        "hidden_size": HIDDEN, "intermediate_size": MLP, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "num_key_value_heads": HEADS, "head_dim": HIDDEN // HEADS,
        "vocab_size": VOCABULARY, "max_position_embeddings": MAX_LENGTH,
        "hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
        "tie_word_embeddings": False, "attention_bias": False, "torch_dtype": "float32",
        "eos_token_id": end,
    })


main(pathlib.Path(sys.argv[1]))
