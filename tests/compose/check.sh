#!/usr/bin/env bash
# Builds the image on a local Debian base and runs the services of docker-compose.yml in containers, on CPU.
#
# Needs no daemon and no image registry, but root (for debootstrap and chroot), podman, buildah, runc, catatonit and
# debootstrap. pip inside the build uses the configuration and the local folders that pip uses out here. What it makes
# lies in .cache/compose-check and in podman's storage, and is used again; FRESH=1 starts over.
#
#   COMPOSE_CHECK_MODEL=PATH    the base model; default: the demo's. "tiny" is a random one that is made in a second.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

python=${PYTHON:-$PWD/.venv/bin/python}
cache=$(realpath -m "${SIDESTEP_CACHE:-.cache}")
work=$cache/compose-check
base=localhost/sidestep-base:bookworm
image=localhost/sidestep:compose-check
model=${COMPOSE_CHECK_MODEL:-$cache/smollm2-135m-instruct}

say() { printf '\n== %s\n' "$*"; }
fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

require() {
    local tool missing=()
    for tool in podman buildah runc catatonit debootstrap; do
        command -v "$tool" >/dev/null || missing+=("$tool")
    done
    ((${#missing[@]} == 0)) || fail "missing ${missing[*]}: apt-get install -y --no-install-recommends ${missing[*]}"
    [ "$(id -u)" = 0 ] || fail "this check must run as root: debootstrap and an image built by chroot need it"
    [ -x "$python" ] || fail "no $python (make setup)"
    "$python" -c 'import podman_compose' || fail "podman-compose is missing (make setup)"
    [ "$model" = tiny ] || [ -e "$model/config.json" ] || fail "no base model in $model (make setup)"
}

configure_engine() { # what a machine without systemd, cgroup delegation or bridges can do
    mkdir -p "$work"
    cat >"$work/containers.conf" <<'CONF'
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
netns = "host"
[engine]
runtime = "runc"
CONF
    export CONTAINERS_CONF=$work/containers.conf
}

debian_mirror() { # the one this machine's apt uses, in either of apt's formats; nothing when there is none
    sed -nE 's,^(URIs:|deb( \[[^]]*\])?) +(https?://[^ ]*/debian)/?( .*)?$,\3,p' \
        /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | head -n 1 || true
}

build_base() {
    if [ -z "${FRESH:-}" ] && podman image exists "$base"; then
        echo "$base is there already (FRESH=1 makes it again)"
        return
    fi
    rm -rf "$work/rootfs"
    nice debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates \
        bookworm "$work/rootfs" $(debian_mirror) >"$work/debootstrap.log" 2>&1 \
        || { tail -n 20 "$work/debootstrap.log" >&2; fail "debootstrap failed (all of it: $work/debootstrap.log)"; }
    tar -C "$work/rootfs" -c . | podman import --quiet - "$base"
    rm -rf "$work/rootfs"
}

build_image() {
    local path options=()
    {
        echo "[global]"
        "$python" -m pip config list | sed -nE "s/^(global\.|:env:\.)([a-z-]+)='(.*)'$/\2 = \3/p" | sort -u -t= -k1,1
    } >"$work/pip.conf"
    for path in $(sed 's,^[^=]*= *,,' "$work/pip.conf" | tr ' ' '\n' | sed -nE 's,^(file://)?(/.*)$,\2,p' | sort -u); do
        # An index of wheels may link to files beside it, so the folder around it goes in as well.
        [ "${path##*/}" != simple ] || path=${path%/simple}
        [ ! -e "$path" ] || options+=(--volume "$path:$path:ro")
    done
    [ -z "${FRESH:-}" ] || options+=(--no-cache)
    nice buildah bud --isolation chroot --layers --build-arg "BASE_IMAGE=$base" \
        --secret "id=pip.conf,src=$work/pip.conf" "${options[@]}" --tag "$image" . >"$work/build.log" 2>&1 \
        || { tail -n 30 "$work/build.log" >&2; fail "the build failed (all of it: $work/build.log)"; }
    grep -E '^\[[0-9]+/[0-9]+\] STEP|Using cache' "$work/build.log" | cut -c 1-100
    podman images --format '{{.Repository}}:{{.Tag}}  {{.Size}}' "$image"
}

require
configure_engine
say "base image: Debian bookworm with Python"
build_base
say "image"
build_image
exec "$python" tests/compose/scenario.py --image "$image" --work "$work" --model "$model"
