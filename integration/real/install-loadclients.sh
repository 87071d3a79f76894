#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs the load clients that people measure engines with, each in an environment
# of its own below the folder that install.sh has made, and prints their folder.
# inference-perf needs Python 3.12.
set -euo pipefail
root=$CADDY_KVAWARE_REAL
folder=$root/loadclients
stamp=$(cksum <"$0" | tr ' ' -)

if [ "$(cat "$folder/installed" 2>/dev/null)" = "$stamp" ]; then
	echo "$folder"
	exit 0
fi
mkdir -p "$folder"
uv=$root/venv/bin/uv

# python312 prints a Python 3.12 that runs here, or the version, for uv to get one.
python312() {
	for p in python3.12 "$HOME"/.pyenv/versions/3.12.*/bin/python3.12; do
		if "$p" -c '' 2>/dev/null; then
			command -v "$p"
			return
		fi
	done
	echo 3.12
}

# install PYTHON PACKAGE==VERSION makes one environment.
install() {
	"$uv" venv --quiet --clear --python "$1" "$folder/${2%%==*}" >&2
	"$uv" pip install --quiet --python "$folder/${2%%==*}/bin/python" --override "$root/overrides.txt" "$2" >&2
}

echo "real: installing load clients" >&2
install python3 guidellm==0.8.1
install python3 aiperf==0.13.0
install "$(python312)" inference-perf==0.7.0

# aiperf's workers load a tokenizer by the name of a repository only, from the cache
# of downloads.
commit=0000000000000000000000000000000000000000
repository=$folder/huggingface/hub/models--local--tiny
mkdir -p "$repository/refs" "$repository/snapshots/$commit"
printf %s "$commit" >"$repository/refs/main"
cp "$root"/models/tiny/*.json "$repository/snapshots/$commit/"

echo "$stamp" >"$folder/installed"
echo "$folder"
