#!/usr/bin/env bash
# Builds the real OpenTelemetry Collector and the real Jaeger with the Go client, for the tests that run them.
# They go into a cache outside the checkout, and are built again when their versions or components change.
set -euo pipefail
collector=v0.155.0
jaeger=v1.76.0 # the module's number of Jaeger 2.13

here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/ire-otel/peers
command -v go >/dev/null || { echo 'no go command: install Go, https://go.dev/doc/install' >&2; exit 1; }
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
scratch=$(mktemp -d "$cache/building.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

# Each step needs the one before: `set -e` does not hold in a function whose failure is looked at.
build_otelcol() {
    go run "go.opentelemetry.io/collector/cmd/builder@$collector" --config "$here/collector.yaml" --skip-strict-versioning &&
        mv otelcol "$scratch/otelcol"
}

# `go install` refuses a module with replace directives. The checksums of what it is made of come with its source.
build_jaeger() {
    source=$(go mod download -json "github.com/jaegertracing/jaeger@$jaeger" | sed -n 's/^\t"Dir": "\(.*\)",\{0,1\}$/\1/p') &&
        printf 'module peers\n\ngo 1.26\n' >go.mod &&
        cat "$source/go.sum" >go.sum &&
        go get -tool "github.com/jaegertracing/jaeger/cmd/jaeger@$jaeger" &&
        go build -ldflags '-s -w' -o "$scratch/jaeger" github.com/jaegertracing/jaeger/cmd/jaeger
}

build() { # name, recipe
    if [ -x "$cache/$1" ] && [ "$2" = "$(cat "$cache/$1.recipe" 2>/dev/null)" ]; then
        echo "$cache/$1 is there already"
        return
    fi
    echo "building $cache/$1"
    begun=$SECONDS
    mkdir "$scratch/$1-module"
    if ! (cd "$scratch/$1-module" && "build_$1") >"$scratch/log" 2>&1; then
        tail -n 20 "$scratch/log" >&2
        return 1
    fi
    mv -f "$scratch/$1" "$cache/$1"
    printf '%s\n' "$2" >"$cache/$1.recipe"
    echo "built in $((SECONDS - begun)) s, $(du -h "$cache/$1" | cut -f1)"
}

build otelcol "$collector $(cat "$here/collector.yaml")"
build jaeger "$jaeger"
