#!/usr/bin/env bash
# fetch.sh SOURCE REF COMMIT SHA256 TARGET: a checkout of REF with its submodules in TARGET.
# SOURCE is a git URL, or the name of a tarball of a checkout below /sources (offline; SHA256 is checked when given).
# A private repository's user and password are read from the build's secret git-credentials, and are nowhere else.
# Objects are kept in /cache, so that an interrupted or repeated fetch transfers only what lacks.
set -euo pipefail
source=$1 ref=$2 commit=$3 sha256=$4 target=$5
attempts=${FETCH_ATTEMPTS:-5}

fail() { echo "error: $1" >&2; exit 1; }

retried() {
  local attempt
  for attempt in $(seq "$attempts"); do
    if "$@"; then return; fi
    ((attempt == attempts)) || { echo "attempt $attempt of $attempts failed: $*"; sleep "$attempt"; }
  done
  fail "$source: not fetched in $attempts attempts"
}

export GIT_TERMINAL_PROMPT=0 # a question nobody sees would wait for ever
if [[ -f /run/secrets/git-credentials ]]; then
  export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=credential.helper
  export GIT_CONFIG_VALUE_0="store --file=/run/secrets/git-credentials"
fi

mkdir -p "$target"
if [[ $source != *://* && $source != *@*:* ]]; then
  archive=/sources/$source
  [[ -f $archive ]] || fail "no tarball $source"
  [[ -z $sha256 ]] || echo "$sha256  $archive" | sha256sum --check --quiet || fail "$source has another SHA-256 than $sha256"
  tar --extract --file "$archive" --directory "$target" --strip-components=1 --no-same-owner \
    --no-same-permissions
else
  cache=/cache/$(echo "$source" | sha256sum | cut -c1-16).git
  [[ -d $cache ]] || git init --quiet --bare "$cache"
  retried git -C "$cache" fetch --quiet --depth 1 --force "$source" "$ref:refs/heads/fetched"
  git -C "$target" init --quiet
  git -C "$target" fetch --quiet --depth 1 "$cache" refs/heads/fetched
  git -C "$target" -c advice.detachedHead=false checkout --quiet FETCH_HEAD
  # Relative URLs of submodules are relative to the source, not to the cache.
  git -C "$target" remote add origin "$source"
  retried git -C "$target" submodule update --quiet --init --recursive --depth 1 --jobs 4
fi

have=$(git -C "$target" rev-parse HEAD 2>/dev/null || echo "unknown (a tarball without .git)")
[[ -z $commit || $have == "$commit" || ($have == unknown* && -n $sha256) ]] || fail "$source at $ref is commit $have; expected $commit"
echo "$have" >"$target.commit"
echo "fetched $source at $ref: commit $have"
