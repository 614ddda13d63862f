#!/usr/bin/env bash
# A Docker engine of one's own, for machines without one and for the tests: everything it writes lies in one directory.
#   docker/private-engine.sh start | stop | status | base [TAG]
# QAT8_ENGINE_DIR names the directory (default ~/.cache/qat8/engine). It needs root and Debian's docker.io; `base` also
# needs debootstrap: it makes a base image from the mirror that this machine's apt uses, without any image registry.
set -euo pipefail
directory=${QAT8_ENGINE_DIR:-$HOME/.cache/qat8/engine}
export DOCKER_HOST=unix://$directory/docker.sock
suite=bookworm

fail() { echo "error: $1" >&2; exit 5; }

answers() { docker version >/dev/null 2>&1; }

# The process that the pid file names, if it still is a dockerd: after a crash the number may be somebody else's.
running_pid() {
  local pid
  pid=$(cat "$directory/docker.pid" 2>/dev/null) && [[ $(cat "/proc/$pid/comm" 2>/dev/null) == dockerd ]] && echo "$pid"
}

start() {
  answers && { echo "up already: DOCKER_HOST=$DOCKER_HOST"; return; }
  ((EUID == 0)) || fail "a Docker engine needs root, this is user $EUID"
  local daemon
  daemon=$(command -v dockerd || command -v /usr/sbin/dockerd) || fail "no dockerd; next: apt-get install -y docker.io"
  mkdir -p "$directory"
  rm -f "$directory/docker.pid" "$directory/docker.sock"
  # No bridge and no firewall rules: containers have no network, or the host's. That needs no rights beyond root's.
  # Nor does it get the caller's open files: a lock among them would be held for as long as the engine runs.
  (for file in /proc/self/fd/*; do ((${file##*/} <= 2)) || eval "exec ${file##*/}>&-"; done; exec setsid "$daemon" --host "$DOCKER_HOST" --data-root "$directory/root" --exec-root "$directory/exec" \
    --pidfile "$directory/docker.pid" --bridge=none --iptables=false --ip6tables=false --ip-forward=false \
    --ip-masq=false --userland-proxy=false >"$directory/dockerd.log" 2>&1 </dev/null) &
  local started=$!
  for _ in $(seq 150); do
    answers && { echo "up: DOCKER_HOST=$DOCKER_HOST"; return; }
    kill -0 "$started" 2>/dev/null || break
    sleep 0.2
  done
  kill "$started" 2>/dev/null || true
  fail "dockerd did not start: $(tail -1 "$directory/dockerd.log"); next: read $directory/dockerd.log"
}

stop() {
  local pid containers group mount
  pid=$(running_pid) || { echo "not running"; return; }
  containers=$(docker ps --all --quiet 2>/dev/null || true)
  [[ -z $containers ]] || docker rm --force $containers >/dev/null
  kill "$pid"
  for _ in $(seq 150); do
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.2
  done
  ! kill -0 "$pid" 2>/dev/null || fail "dockerd (process $pid) does not stop; next: read $directory/dockerd.log"
  # The second one is left by an engine that was killed before this one started, and below it what its builds' steps had
  # mounted; a mount of each start may lie over the other. Lazily, as dockerd does it: what is open lives until it is closed.
  for mount in "$directory/exec/netns/default" "$directory/root"; do
    while mountpoint -q "$mount"; do
      umount --recursive --lazy "$mount" || fail "$mount stays mounted; next: findmnt --submounts $mount"
    done
  done
  # Another engine may share these control groups: rmdir leaves those that are in use.
  for group in /sys/fs/cgroup/*/docker/buildkit /sys/fs/cgroup/*/docker; do rmdir "$group" 2>/dev/null || true; done
  echo "stopped"
}

mirror() {
  apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' | awk -v s="$suite" '$1 == s {print $2; exit}'
}

base() (  # a subshell, so that its trap ends with it
  local tag=${1:-qat8-base:$suite} root=$directory/rootfs archive=$directory/base.tar from
  answers || fail "no engine at $DOCKER_HOST; next: docker/private-engine.sh start"
  ! docker image inspect "$tag" >/dev/null 2>&1 || { echo "there already: $tag"; return; }
  if [[ ! -f $archive ]]; then
    command -v debootstrap >/dev/null || fail "no debootstrap; next: apt-get install -y debootstrap"
    from=$(mirror)
    [[ -n $from ]] || fail "apt on this machine has no source for $suite; next: add one, and apt-get update"
    rm -rf "$root"
    trap 'rm -rf "$root" "$archive.part"' EXIT
    debootstrap --variant=minbase "$suite" "$root" "$from" >"$directory/debootstrap.log" 2>&1 ||
      fail "debootstrap: $(tail -1 "$directory/debootstrap.log"); next: read $directory/debootstrap.log"
    # Nothing that differs from one run to the next: logs, caches, the machine's name, file times after the release.
    rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/* "$root"/etc/hostname \
      "$root"/etc/resolv.conf "$root"/var/cache/ldconfig/aux-cache
    tar --create --file "$archive.part" --directory "$root" --numeric-owner --sort=name --one-file-system \
      --exclude='./proc/*' --exclude='./sys/*' --exclude='./dev/*' .
    mv "$archive.part" "$archive"
  fi
  docker import --change 'CMD ["bash"]' "$archive" "$tag" >/dev/null
  echo "made: $tag"
)

case ${1:-} in
  start | stop) "$1" ;;
  status) if answers; then echo "up: DOCKER_HOST=$DOCKER_HOST"; else echo "not running"; fi ;;
  base) base "${2:-}" ;;
  *) echo "error: ${1:-no command}; expected start, stop, status or base [TAG]" >&2; exit 2 ;;
esac
