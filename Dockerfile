# syntax=docker/dockerfile:1
FROM golang:1.26.8-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
# DuckDB is C++, so this is cgo. Both images are of one Debian release: their C++ runtimes match.
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    go build -trimpath -ldflags=-s -o /out/ ./worker ./starter

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates curl libstdc++6 tzdata \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/ /usr/local/bin/
# New volumes take over the owner of what they are mounted on.
RUN useradd --uid 65532 --home-dir /var/lib/tributary --shell /usr/sbin/nologin tributary \
 && install -d -o 65532 -g 65532 -m 0700 /var/lib/tributary /var/lib/tributary/journal
USER 65532:65532
WORKDIR /var/lib/tributary
ENV TRIBUTARY_DIR=/var/lib/tributary
EXPOSE 8080 9090
# Of a container that receives; one with --role worker has a check of its own in docker-compose.yml.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["curl", "-fsS", "http://127.0.0.1:9090/healthz"]
ENTRYPOINT ["worker"]
