#!/usr/bin/env bash
# Builds the image on a local Debian base and runs trainer, evaluator and rerun in containers, on CPU.
#
# Needs no container engine's daemon and no image registry: podman, buildah, runc and debootstrap from Debian, and
# podman-compose from the project's development packages. Run as root, because debootstrap and chroot need it.
# Everything it makes lies in .cache/compose-check and is reused; FRESH=1 starts over.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

work=$PWD/${SIDESTEP_COMPOSE_WORK:-.cache/compose-check}
model=${COMPOSE_CHECK_MODEL:-${SIDESTEP_CACHE:-$PWD/.cache}/smollm2-135m-instruct}
python=.venv/bin/python
failed=0

say() { printf '\n== %s\n' "$*"; }
check() { # check NAME COMMAND...: one line with the verdict
    local name=$1
    shift
    if "$@"; then echo "PASS  $name"; else
        echo "FAIL  $name"
        failed=1
    fi
}

require() {
    local missing=()
    for tool in podman buildah runc debootstrap; do command -v $tool >/dev/null || missing+=($tool); done
    if ((${#missing[@]})); then
        echo "error: missing ${missing[*]} (apt-get install -y ${missing[*]})" >&2
        exit 1
    fi
    [ -e "$model/config.json" ] || { echo "error: no base model in $model (make setup)" >&2; exit 1; }
}

configure() {
    mkdir -p "$work"
    [ -z "${FRESH:-}" ] || rm -rf "$work/rootfs" "$work/expert"
    cat > "$work/containers.conf" <<-'CONF'
		[containers]
		default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
		netns = "host"
		[engine]
		runtime = "runc"
	CONF
    export CONTAINERS_CONF=$work/containers.conf
    export EXPERT_DIR=$work/expert BASE_MODEL_DIR=$model SIDESTEP_IMAGE=localhost/sidestep:check
    export COMPOSE_PROJECT_NAME=sidestep-check PODMAN_COMPOSE_WARNING_LOGS=false
    export SIDESTEP_UID=1000 SIDESTEP_GID=1000
}

compose() { .venv/bin/podman-compose -f docker-compose.yml -f docker-compose.cpu.yml "$@"; }
name_of() { podman ps -a --filter "label=com.docker.compose.service=$1" --format '{{.Names}}' | head -n 1; }

base_image() { # Debian with Python 3.11, from the mirror that this machine's apt uses
    podman image exists localhost/sidestep-base && [ -z "${FRESH:-}" ] && return
    local mirror
    mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null \
        | grep -Eo 'https?://[^ ]+/debian/?( |$)' | head -n 1 | tr -d ' ' || true)
    rm -rf "$work/rootfs"
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$work/rootfs" ${mirror:+"$mirror"} \
        > "$work/debootstrap.log"
    tar -C "$work/rootfs" -c . | podman import - localhost/sidestep-base >/dev/null
    rm -rf "$work/rootfs"
}

image() { # pip inside the build uses what pip uses here, whatever that is
    local mounts=() folder settings=$work/pip.conf
    { echo "[global]"; .venv/bin/pip config list | sed -nE "s/^(global\.|:env:\.)([a-z-]+)='(.*)'$/\2 = \3/p" | sort -u -t= -k1,1; } > "$settings"
    mounts+=(--volume "$settings:/etc/pip.conf:ro")
    for folder in $(grep -Eo '(file://)?/[^ ]+' "$settings" | sed 's|^file://||' | sort -u); do
        [ ! -e "$folder" ] || mounts+=(--volume "$folder:$folder:ro")
    done
    buildah bud --isolation chroot --layers --build-arg BASE_IMAGE=localhost/sidestep-base "${mounts[@]}" \
        -t "$SIDESTEP_IMAGE" -f Dockerfile . > "$work/build.log" 2>&1 || { tail -n 30 "$work/build.log" >&2; exit 1; }
}

expert() { # a copy of the example with few test cases, on a folder that both services share
    rm -rf "$EXPERT_DIR"
    cp -r examples/shop "$EXPERT_DIR"
    $python - "$EXPERT_DIR/tests/test_cases.json" <<-'PY'
		import json, sys
		document = json.load(open(sys.argv[1]))
		document["test_cases"] = document["test_cases"][:4] + document["test_cases"][-2:]
		json.dump(document, open(sys.argv[1], "w"))
	PY
    mkdir -p "$EXPERT_DIR/weights/training_reports"
    chown -R 1000:1000 "$EXPERT_DIR/weights/training_reports"
}

wait_for_log() { # wait_for_log CONTAINER TEXT: until the container says it; fails when the container ends before
    timeout 600 sh -c 'podman logs -f "$1" 2>&1 | grep -m 1 -F -- "$2"' _ "$1" "$2" >/dev/null
}

has_reports() { # all checkpoints of the training, and the base model
    local step
    for step in 2 4 6; do [ -s "$EXPERT_DIR/weights/training_reports/checkpoint-$step/report.json" ] || return 1; done
    [ -s "$EXPERT_DIR/weights/training_reports/base/report.json" ]
}

cleanup() { compose --profile rerun down -t 5 >/dev/null 2>&1 || true; }

main() {
    require
    configure
    trap cleanup EXIT
    cleanup
    say "base image and image"
    base_image
    image
    podman images "$SIDESTEP_IMAGE" --format '{{.Repository}}:{{.Tag}} {{.Size}}'

    for trainer_user in 1000:1000 0:0; do
        say "training as user $trainer_user, evaluating as user 1000 with the weights read-only"
        export SIDESTEP_TRAINER_USER=$trainer_user
        export TRAINER_OPTIONS="--max-steps 6 --save-steps 2 --device cpu --set batch_size=2 --set logging_steps=2"
        export EVALUATOR_OPTIONS="--device cpu --max-new-tokens 48"
        expert
        [ $trainer_user = 0:0 ] || chown -R 1000:1000 "$EXPERT_DIR"
        compose up -d
        local evaluator trainer
        evaluator=$(name_of evaluator) trainer=$(name_of trainer)
        echo "evaluator: uid $(podman exec "$evaluator" id -u)"
        check "the evaluator runs as uid 1000" test "$(podman exec "$evaluator" id -u)" = 1000
        check "the evaluator cannot write weights" \
            sh -c "! podman exec $evaluator touch /expert/weights/x 2>/dev/null && ! podman exec $evaluator touch /expert/x 2>/dev/null"
        check "the evaluator can write reports" podman exec "$evaluator" sh -c "touch /expert/weights/training_reports/.x && rm /expert/weights/training_reports/.x"
        check "privileges cannot be gained" podman exec "$evaluator" grep -q 'NoNewPrivs:.*1' /proc/self/status

        if [ $trainer_user = 1000:1000 ]; then stop_in_the_middle "$evaluator"; fi
        check "training succeeds" test "$(podman wait "$trainer")" = 0
        wait_for_log "$evaluator" "checkpoint-6: " || true
        for _ in $(seq 300); do has_reports && break; sleep 1; done # sleep: another kernel's process, no event to await
        check "every checkpoint has its report" has_reports
        check "the health check says healthy" podman exec "$evaluator" sidestep-evaluator health /expert
        echo "-- trainer"; podman logs "$trainer" 2>&1 | tail -n 12
        echo "-- evaluator"; podman logs "$evaluator" 2>&1 | tail -n 14
        ls "$EXPERT_DIR/weights/training_reports" "$EXPERT_DIR/weights/smollm2-135m-instruct"
        compose down -t 30 >/dev/null 2>&1
    done

    say "rerun profile"
    export RERUN_OPTIONS="--force --checkpoints 4,6 --device cpu --max-new-tokens 48"
    compose --profile rerun run --rm rerun 2>&1 | tail -n 20
    check "the rerun archived the old reports" \
        test "$(ls -d "$EXPERT_DIR"/weights/training_reports/archive/*/*/checkpoint-* | wc -l)" = 2
    say "$([ $failed = 0 ] && echo all checks passed || echo SOME CHECKS FAILED)"
    exit $failed
}

stop_in_the_middle() { # docker stop while a checkpoint is evaluated: in order, nothing lost
    local evaluator=$1 began label
    wait_for_log "$evaluator" "1 of 6 cases done" || true
    label=$(podman logs "$evaluator" 2>&1 | grep -F "of 6 cases done" | tail -n 1)
    echo "stopping after: $label"
    began=$(date +%s)
    podman stop -t 30 "$evaluator" >/dev/null
    echo "stopped in $(($(date +%s) - began)) s with exit code $(podman inspect -f '{{.State.ExitCode}}' "$evaluator")"
    check "stop ends the evaluator in order" test "$(podman inspect -f '{{.State.ExitCode}}' "$evaluator")" = 0
    echo "finished cases kept: $(cat "$EXPERT_DIR"/weights/training_reports/.attempts/*/cases-*.jsonl 2>/dev/null | wc -l)"
    podman start "$evaluator" >/dev/null
    wait_for_log "$evaluator" "finished cases are kept" && echo "started again: finished cases are not run again"
}

main "$@"
