#!/usr/bin/env bash
# Installs the routers that the benchmark runs beside the gateway, and prints the
# folder of their commands. Needs Python 3 with venv.
set -euo pipefail

# The versions are part of what the README says.
PACKAGES="smg==1.13.0 vllm-router==0.1.17 sglang-router==0.3.2"

folder="${XDG_CACHE_HOME:-$HOME/.cache}/caddy-kvaware-routers"
if [ "$(cat "$folder/installed" 2>/dev/null)" != "$PACKAGES" ]; then
	rm -rf "$folder"
	python3 -m venv "$folder"
	# shellcheck disable=SC2086 # one argument a package
	"$folder/bin/pip" install --quiet --disable-pip-version-check $PACKAGES >&2
	echo "$PACKAGES" >"$folder/installed"
fi
echo "$folder/bin"
