#!/usr/bin/env bash
# Builds the real OpenTelemetry Collector and the real Jaeger with the Go client, for the tests that run them.
# They go into a cache outside the checkout, and are built again only when this recipe changes.
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
trap 'chmod -R u+w "$scratch"; rm -rf "$scratch"' EXIT

build_collector() {
    mkdir "$scratch/collector-module"
    cd "$scratch/collector-module"
    go run "go.opentelemetry.io/collector/cmd/builder@$collector" --config "$here/collector.yaml" --skip-strict-versioning
    mv otelcol "$scratch/otelcol"
}

build_jaeger() {
    # `go install` refuses a module with replace directives. Checksums of what it was built with come with its source.
    mkdir "$scratch/jaeger-module"
    cd "$scratch/jaeger-module"
    source=$(go mod download -json "github.com/jaegertracing/jaeger@$jaeger" | sed -n 's/^\t"Dir": "\(.*\)",\{0,1\}$/\1/p')
    printf 'module peers\n\ngo 1.26\n' >go.mod
    cp "$source/go.sum" go.sum
    chmod u+w go.sum
    go get -tool "github.com/jaegertracing/jaeger/cmd/jaeger@$jaeger"
    go build -ldflags '-s -w' -o "$scratch/jaeger" github.com/jaegertracing/jaeger/cmd/jaeger
}

for peer in otelcol jaeger; do
    recipe=$(cat "$here/build.sh" "$here/collector.yaml")
    if [ -x "$cache/$peer" ] && [ "$recipe" = "$(cat "$cache/$peer.recipe" 2>/dev/null)" ]; then
        echo "$cache/$peer is there already"
        continue
    fi
    begun=$SECONDS
    case $peer in
        otelcol) (build_collector) ;;
        jaeger) (build_jaeger) ;;
    esac
    mv -f "$scratch/$peer" "$cache/$peer"
    printf '%s\n' "$recipe" >"$cache/$peer.recipe"
    echo "$cache/$peer: built in $((SECONDS - begun)) s, $(du -h "$cache/$peer" | cut -f1)"
done
